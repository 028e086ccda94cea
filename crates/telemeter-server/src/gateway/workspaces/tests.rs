#![allow(clippy::unwrap_used)]
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn large_requests_of_one_cluster_run_one_by_one_and_leave_memory_for_small_ones() {
    let budget = MemoryBudget::new(256 << 20);
    let capacity = budget.capacity_bytes(MemoryShare::Workspaces);
    let workspaces = Arc::new(Workspaces::new(budget.clone()));
    let (working, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let greedy: Vec<_> = (0..20)
        .map(|_| {
            let (workspaces, budget) = (workspaces.clone(), budget.clone());
            let (working, most) = (working.clone(), most.clone());
            tokio::spawn(async move {
                let work = |_: &mut Workspace| {
                    most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    assert!(budget.used_bytes(MemoryShare::Workspaces) <= capacity);
                    std::thread::sleep(Duration::from_millis(20));
                    working.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                workspaces.with("greedy", 16 << 20, work).await
            })
        })
        .collect();
    for at in 0..100 {
        let small = workspaces.with("honest", 64 << 10, |_| Ok(())).await;
        assert!(small.is_ok(), "small request {at}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for task in greedy {
        assert!(task.await.unwrap().is_ok(), "a large one gets its turn");
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_large_request_waits_for_one_of_another_cluster_and_not_for_its_many() {
    let workspaces = Arc::new(Workspaces::new(MemoryBudget::new(256 << 20)));
    let worked = Arc::new(AtomicUsize::new(0));
    let large = |cluster: &'static str, wait: Option<std::sync::mpsc::Receiver<()>>| {
        let (workspaces, worked) = (workspaces.clone(), worked.clone());
        tokio::spawn(async move {
            let work = |_: &mut Workspace| {
                wait.map(|wait| wait.recv());
                Ok(worked.fetch_add(1, Ordering::SeqCst))
            };
            workspaces.with(cluster, 16 << 20, work).await
        })
    };
    let queued = || tokio::time::sleep(Duration::from_millis(200));
    let (go_on, wait) = std::sync::mpsc::channel();
    let first = large("greedy", Some(wait));
    queued().await;
    let greedy: Vec<_> = (0..200).map(|_| large("greedy", None)).collect();
    queued().await;
    let honest = large("honest", None);
    queued().await;
    go_on.send(()).unwrap();
    let before = honest.await.unwrap().unwrap();
    assert!(before < 100, "{before} of the other cluster went first");
    for task in greedy.into_iter().chain([first]) {
        assert!(task.await.unwrap().is_ok());
    }
}

#![allow(clippy::unwrap_used)]
use std::sync::atomic::AtomicUsize;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn large_requests_of_one_cluster_take_turns_and_leave_room_for_small_ones() {
    let budget = MemoryBudget::new(256 << 20);
    let capacity = budget.capacity_bytes(Share::Workspaces);
    let workspaces = Arc::new(Workspaces::new(budget.clone()));
    let (working, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let greedy: Vec<_> = (0..20)
        .map(|_| {
            let (workspaces, budget) = (workspaces.clone(), budget.clone());
            let (working, most) = (working.clone(), most.clone());
            tokio::spawn(async move {
                let work = |_: &mut Workspace| {
                    most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    assert!(budget.used_bytes(Share::Workspaces) <= capacity);
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

use std::convert::Infallible;

use futures_util::stream;

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn streamed(chunks: &'static [&'static str]) -> Body {
    Body::from_stream(stream::iter(chunks.iter().map(|chunk| Ok::<_, Infallible>(*chunk))))
}

async fn check(body: Body, cap_bytes: usize, expected: Result<&str, &str>) {
    let mut into = Vec::new();
    let outcome = read(body, cap_bytes, SOON, &mut into).await;
    match expected {
        Ok(text) => {
            outcome.expect("within the cap");
            assert_eq!(into, text.as_bytes());
        }
        Err(text) => assert_eq!(outcome.expect_err("over the cap").to_string(), text),
    }
}

#[tokio::test]
async fn exactly_the_cap_is_within_it() {
    check(Body::from("12345"), 5, Ok("12345")).await;
    check(Body::from("123456"), 5, Err("the body is longer than 5 bytes")).await;
    check(streamed(&["12", "345"]), 5, Ok("12345")).await;
    check(streamed(&["12", "345", "6"]), 5, Err("the body is longer than 5 bytes")).await;
    check(Body::empty(), 0, Ok("")).await;
}

#[tokio::test]
async fn an_undeclared_length_is_cut_off_at_the_cap() {
    let mut into = Vec::new();
    let endless = stream::repeat_with(|| Ok::<_, Infallible>("0123456789"));
    let outcome = read(Body::from_stream(endless), 1000, SOON, &mut into).await;
    assert!(matches!(outcome, Err(BodyError::TooLarge { cap_bytes: 1000 })));
    assert_eq!(into.len(), 1000);
}

#[tokio::test]
async fn a_declared_length_over_the_cap_allocates_nothing() {
    let mut into = Vec::new();
    let outcome = read(Body::from(vec![0; 100_000]), 10, SOON, &mut into).await;
    assert!(matches!(outcome, Err(BodyError::TooLarge { .. })));
    assert_eq!(into.capacity(), 0);
}

#[tokio::test]
async fn the_deadline_is_for_the_whole_body() {
    let drip = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        Some((Ok::<_, Infallible>("x"), ()))
    });
    let mut into = Vec::new();
    let outcome = read(Body::from_stream(drip), 1000, Duration::from_millis(200), &mut into).await;
    assert!(matches!(outcome, Err(BodyError::Timeout)));
    assert!((1..=6).contains(&into.len()), "{}", into.len());
}

#[tokio::test]
async fn a_broken_body_says_so() {
    let broken = stream::iter([Ok("x"), Err(std::io::Error::other("peer left"))]);
    let outcome = read(Body::from_stream(broken), 1000, SOON, &mut Vec::new()).await;
    assert_eq!(outcome.expect_err("broken").to_string(), "the body broke off: peer left");
}

#[test]
fn a_buffer_comes_back_cleared_and_with_its_room() {
    let pool = BufferPool::new(1, 1000);
    let mut buffer = pool.take();
    buffer.extend_from_slice(&[7; 100]);
    let at = buffer.as_ptr();
    drop(buffer);
    let again = pool.take();
    assert!(again.is_empty());
    assert_eq!(again.as_ptr(), at);
}

#[test]
fn frozen_bytes_bring_the_buffer_back_when_the_last_clone_goes() {
    let pool = BufferPool::new(4, 1000);
    let mut buffer = pool.take();
    buffer.extend_from_slice(b"abc");
    let at = buffer.as_ptr();
    let bytes = buffer.freeze();
    let clone = bytes.clone();
    drop(bytes);
    assert_eq!(pool.take().capacity(), 0, "still in use");
    assert_eq!(&clone[..], b"abc");
    drop(clone);
    assert_eq!(pool.take().as_ptr(), at);
}

#[test]
fn neither_a_huge_buffer_nor_too_many_are_kept() {
    let pool = BufferPool::new(1, 100);
    let mut huge = pool.take();
    huge.reserve(101);
    drop(huge);
    assert_eq!(pool.take().capacity(), 0);

    let (mut one, mut two) = (pool.take(), pool.take());
    one.push(1);
    two.push(2);
    drop(one);
    drop(two);
    assert_eq!(pool.shared.free.lock().len(), 1);
}

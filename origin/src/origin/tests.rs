use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use tokio::time::Instant;

use super::*;
use crate::backend::Body;

/// What a fake says when it is asked once.
enum Say {
    Fault(Fault),
    /// Bytes in parts; `None`: silence from then on.
    Parts(&'static [Option<&'static str>]),
    Silence,
}

/// An origin that says what it was told to, and silence when that is at its end.
#[derive(Default)]
struct Fake {
    says: Mutex<VecDeque<Say>>,
    asked: Mutex<Vec<(&'static str, ByteRange)>>,
}

impl Fake {
    async fn say(&self, op: &'static str, range: ByteRange) -> Result<Body, Fault> {
        self.asked.lock().unwrap().push((op, range));
        let say = self.says.lock().unwrap().pop_front().unwrap_or(Say::Silence);
        let part = |part: Option<&'static str>| async move {
            match part {
                Some(part) => Ok(Bytes::from(part)),
                None => std::future::pending().await,
            }
        };
        match say {
            Say::Fault(fault) => Err(fault),
            Say::Parts(parts) => Ok(stream::iter(parts.iter().copied()).then(part).boxed()),
            Say::Silence => std::future::pending().await,
        }
    }

    fn ranges(&self) -> Vec<(u64, u64)> {
        self.asked.lock().unwrap().iter().map(|(_, range)| (range.start, range.end)).collect()
    }
}

const NONE: ByteRange = ByteRange { start: 0, end: 0 };

#[async_trait]
impl Backend for Arc<Fake> {
    async fn head(&self, _: &str) -> Result<Found, Fault> {
        let found = Found { version: "v".into(), size: 3, modified: SystemTime::UNIX_EPOCH };
        self.say("head", NONE).await.map(|_| found)
    }

    async fn read(&self, _: &str, _: &str, _: u64, range: ByteRange) -> Result<Body, Fault> {
        self.say("read", range).await
    }

    async fn list(&self, _: &str, _: Option<&str>) -> Result<Page, Fault> {
        self.say("list", NONE).await.map(|_| Page::default())
    }

    async fn is_directory(&self, _: &str) -> Result<bool, Fault> {
        self.say("is_directory", NONE).await.map(|_| true)
    }
}

fn origin(says: impl IntoIterator<Item = Say>) -> (Origin, Arc<Fake>) {
    let fake = Arc::new(Fake { says: Mutex::new(says.into_iter().collect()), ..Fake::default() });
    let (backend, throttle) = (Arc::new(Arc::clone(&fake)), Arc::new(Throttle::new()));
    (Origin { name: "quiet".into(), identity: "silent://".into(), ttl: Duration::ZERO, backend, throttle }, fake)
}

fn object() -> ObjectRef {
    ObjectRef { origin: "quiet".into(), key: "k".into(), version: "v".into(), size: 3 }
}

/// What was shown, and how it ended.
async fn read(origin: &Origin) -> (String, Result<(), OriginError>) {
    let mut shown = String::new();
    let mut parts = match origin.read(&object(), ByteRange::new(0, 3)).await {
        Ok(parts) => parts,
        Err(error) => return (shown, Err(error)),
    };
    loop {
        match parts.try_next().await {
            Ok(Some(part)) => shown.push_str(std::str::from_utf8(&part).unwrap()),
            Ok(None) => return (shown, Ok(())),
            Err(error) => {
                assert_eq!(parts.try_next().await, Ok(None), "an error is the end");
                return (shown, Err(error));
            }
        }
    }
}

fn kind<T>(result: Result<T, OriginError>) -> &'static str {
    result.err().map_or("ok", |error| error.kind())
}

fn timed_out(op: &'static str) -> OriginError {
    OriginError::TimedOut { origin: "quiet".into(), key: "k".into(), op, seconds: 60 }
}

fn broken() -> Say {
    Say::Fault(Fault::Unavailable("it broke".into()))
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    let ((origin, _), object) = (origin([]), object());
    assert_eq!(origin.head("k").await, Err(timed_out("head")));
    assert_eq!(origin.read(&object, ByteRange::new(0, 1)).await.err(), Some(timed_out("read")));
    assert_eq!(origin.read(&object, NONE).await.err(), Some(timed_out("read")));
    assert_eq!(origin.list("k", None).await, Err(timed_out("list")));
    assert_eq!(origin.is_directory("k").await, Err(timed_out("is_directory")));
    assert_eq!(origin.is_directory("").await, Ok(true), "the root is not asked for");
}

#[tokio::test(start_paused = true)]
async fn a_question_is_asked_four_times_and_not_in_step() {
    let (origin, fake) = origin([broken(), broken(), broken(), Say::Parts(&[])]);
    let began = Instant::now();
    assert!(origin.head("k").await.is_ok());
    assert!(began.elapsed() <= Duration::from_millis(700));
    fake.says.lock().unwrap().extend([broken(), broken(), broken(), broken(), Say::Parts(&[])]);
    assert_eq!(kind(origin.head("k").await), "unavailable");
    assert_eq!(fake.asked.lock().unwrap().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn what_another_try_would_not_change_is_asked_once() {
    for (fault, says) in [
        (Fault::NotFound, "not_found"),
        (Fault::Changed, "changed"),
        (Fault::Denied(String::new()), "denied"),
        (Fault::Unusable(String::new()), "unusable"),
        (Fault::Unlisted, "unlisted"),
    ] {
        let (origin, fake) = origin([Say::Fault(fault), Say::Parts(&[])]);
        assert_eq!(kind(origin.list("k", None).await), says);
        assert_eq!(fake.asked.lock().unwrap().len(), 1);
    }
}

/// The clock is paused, so it tells exactly how long was waited.
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_or_falls_silent_goes_on_where_it_broke() {
    let bodies: [&[Option<&str>]; 4] = [&[Some("h"), None], &[Some(""), Some("e")], &[], &[Some("r")]];
    let (origin, fake) = origin(bodies.map(Say::Parts));
    let began = Instant::now();
    assert_eq!(read(&origin).await, ("her".to_owned(), Ok(())));
    assert_eq!(fake.ranges(), [(0, 3), (1, 3), (2, 3), (2, 3)]);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(10) && waited < Duration::from_secs(11), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_to_the_end_is_an_error_behind_what_it_showed() {
    let bodies: [&[Option<&str>]; 4] = [&[Some("h")], &[Some("e")], &[None], &[]];
    let (origin, fake) = origin(bodies.map(Say::Parts));
    let (shown, end) = read(&origin).await;
    assert_eq!((shown.as_str(), kind(end)), ("he", "unavailable"));
    assert_eq!(fake.ranges(), [(0, 3), (1, 3), (2, 3), (2, 3)]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changed_in_the_middle_is_not_mixed() {
    let (origin, _) = origin([Say::Parts(&[Some("h")]), Say::Fault(Fault::Changed)]);
    let (shown, end) = read(&origin).await;
    assert_eq!((shown.as_str(), kind(end)), ("h", "changed"));
}

#[tokio::test(start_paused = true)]
async fn more_bytes_than_were_asked_for_are_an_error() {
    for parts in [&[Some("herr")][..], &[Some("he"), Some("rr")], &[Some("her"), Some("r")]] {
        let (origin, fake) = origin([Say::Parts(parts)]);
        let (shown, end) = read(&origin).await;
        assert_eq!(kind(end), "unusable", "{parts:?}");
        assert!("her".starts_with(&shown), "{shown}");
        assert_eq!(fake.ranges(), [(0, 3)]);
    }
}

/// Also of a body that is let go while it is waited for.
#[tokio::test(start_paused = true)]
async fn what_was_asked_for_and_not_taken_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _counting = ::metrics::set_default_local_recorder(&recorder);
    let let_go = || {
        recorder
            .handle()
            .render()
            .lines()
            .find_map(|line| line.strip_prefix("herring_origin_let_go_bytes_total{origin=\"quiet\"} ")?.parse().ok())
    };
    let (origin, _) = origin([Say::Parts(&[Some("her")]), Say::Parts(&[Some("h"), None]), Say::Parts(&[Some("her")])]);
    assert_eq!(read(&origin).await, ("her".to_owned(), Ok(())));
    assert_eq!(let_go(), None, "all of it was taken");
    let mut parts = origin.read(&object(), ByteRange::new(0, 3)).await.unwrap();
    assert_eq!(parts.try_next().await, Ok(Some("h".into())));
    assert!(tokio::time::timeout(Duration::from_secs(1), parts.try_next()).await.is_err());
    drop(parts);
    assert_eq!(let_go(), Some(2));
    drop(origin.read(&object(), ByteRange::new(0, 3)).await.unwrap());
    assert_eq!(let_go(), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_held_to_the_deadline_too() {
    let (origin, _) = origin([Say::Parts(&[Some("he"), None]), Say::Silence]);
    let began = Instant::now();
    let mut parts = origin.read(&object(), ByteRange::new(0, 3)).await.unwrap();
    assert_eq!(parts.try_next().await, Ok(Some("he".into())));
    tokio::time::sleep(DEADLINE / 2).await;
    assert_eq!(parts.try_next().await, Err(timed_out("read")));
    assert_eq!(began.elapsed(), DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_throttles_is_left_alone_by_all_questions() {
    let (origin, fake) = origin([Say::Fault(Fault::Throttled(Some(Duration::from_secs(5)))), Say::Parts(&[]), Say::Parts(&[])]);
    let (began, mut held) = (Instant::now(), origin.held());
    let (first, second) = tokio::join!(origin.head("k"), async {
        held.changed().await.unwrap();
        assert_eq!(held.borrow().left(), Duration::from_secs(5));
        let second = origin.list("k", None).await;
        (second, began.elapsed())
    });
    assert!(first.is_ok() && second.0.is_ok());
    assert!(second.1 >= Duration::from_secs(5), "{:?}", second.1);
    assert_eq!(fake.asked.lock().unwrap().len(), 3);
    origin.hold(Duration::from_secs(9));
    assert_eq!(origin.head("k").await.err(), Some(timed_out("head")));
    assert!(began.elapsed() >= Duration::from_secs(5 + 60));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_throttles_to_the_end_is_an_error_that_says_so() {
    let throttled = |_| Say::Fault(Fault::Throttled(None));
    let (origin, fake) = origin((0..100).map(throttled));
    let began = Instant::now();
    let error = origin.head("k").await.unwrap_err();
    assert!(matches!(error, OriginError::Throttled { seconds, .. } if seconds > 1), "{error}");
    assert!(began.elapsed() < DEADLINE, "who would only wait in vain is told at once");
    let asked = fake.asked.lock().unwrap().len();
    assert!((4..=8).contains(&asked), "{asked}");
}

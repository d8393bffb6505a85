//! What is written down, and what is not.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::io;
use std::sync::{Arc, Mutex, Once};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::Request;
use tower::ServiceExt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Metadata, Subscriber};

use crate::access::guarded;

/// The events of this thread, one a line: the target, then each field as ` name=value`.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<String>>>);

thread_local! {
    static HERE: RefCell<Option<Events>> = const { RefCell::new(None) };
}

/// Ends the recording of its thread.
pub struct Recording;

impl Drop for Recording {
    fn drop(&mut self) {
        HERE.take();
    }
}

/// One for all threads of this process, and never another: subscribers that come and go let others' events be left out.
struct Recorder;

impl Events {
    pub fn record() -> (Self, Recording) {
        static RECORDER: Once = Once::new();
        RECORDER.call_once(|| set_global_default(Recorder).unwrap());
        // A thread that met an event first while it was set has it down as one that nobody wants.
        tracing::callsite::rebuild_interest_cache();
        let events = Self::default();
        HERE.set(Some(events.clone()));
        (events, Recording)
    }

    pub fn of(&self, target: &str) -> Vec<String> {
        let all = self.0.lock().unwrap();
        all.iter().filter_map(|event| event.strip_prefix(target)).map(str::to_owned).collect()
    }

    pub fn audits(&self) -> Vec<String> {
        self.of("audit ")
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {field}={value}").unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        HERE.with_borrow(|here| here.iter().for_each(|events| events.0.lock().unwrap().push(line.0.clone())));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_write_is_told_also_if_its_client_leaves() {
    let (events, _recording) = Events::record();
    let node = guarded();
    let body = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
    let request = Request::post("/v1/blobs").header("authorization", "Bearer write").body(body).unwrap();
    // Once it has begun it is dropped, as hyper does on a reset.
    assert!(node.router.clone().oneshot(request).now_or_never().is_none());
    let told = events.audits();
    assert!(told.len() == 1 && told[0].contains("who=write") && told[0].contains("status=0 "), "{told:?}");
    assert!(told[0].contains("the client left before it was answered; it may have happened"), "{told:?}");
    assert_eq!(node.status("write", "DELETE", "/v1/names/one").await, 204);
    let told = events.audits();
    assert!(told.len() == 2 && told[1].ends_with("resource=/v1/names/one status=204"), "{told:?}");
}

#[tokio::test]
async fn a_write_is_told_also_if_it_panics() {
    let (events, _recording) = Events::record();
    let node = guarded();
    let fake = node.fake.clone();
    let poisoning = std::thread::spawn(move || {
        let _names = fake.names.lock().unwrap();
        panic!("so that who comes next panics as well");
    });
    assert!(poisoning.join().is_err());
    assert_eq!(node.status("write", "DELETE", "/v1/names/one").await, 500);
    let told = events.audits();
    assert!(told.len() == 1 && told[0].ends_with("status=500"), "{told:?}");
}

/// Ten refusals a minute of an address are told. What is answered there all the same, and what tokens do that are known, takes none of theirs silently.
#[tokio::test]
async fn refusals_are_not_kept_out_of_the_audit() {
    let (events, _recording) = Events::record();
    let node = guarded();
    for _ in 0..20 {
        assert_eq!(node.get("guess", "/healthz").await, 200);
    }
    let told = events.audits();
    assert_eq!(told.len(), 10, "{told:?}");
    assert!(told.iter().all(|told| told.contains("resource=/healthz status=401")), "{told:?}");
    for _ in 0..20 {
        assert_eq!(node.status("read", "POST", "/v1/drain").await, 403);
        assert_eq!(node.get("team-a", "/v1/cluster").await, 403);
    }
    let told = events.audits();
    let of = |who: &str| told.iter().filter(|told| told.contains(&format!("who={who} ")) && told.ends_with("status=403")).count();
    assert_eq!((of("read"), of("team-a"), told.len()), (10, 10, 30), "{told:?}");
}

#[tokio::test]
async fn nothing_of_a_query_is_logged() {
    let (events, _recording) = Events::record();
    let node = guarded();
    assert_eq!(node.get("read", "/v1/names?prefix=secret-of-a-query").await, 200);
    assert_eq!(node.get("", "/v1/names?prefix=secret-of-a-query").await, 401);
    let all = events.of("");
    assert!(all.iter().any(|event| event.contains("path=/v1/names ")), "{all:?}");
    assert!(!all.iter().any(|event| event.contains("secret-of-a-query")), "{all:?}");
}

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use herring_blob::ObjectRef;
use herring_http_api::peer::MetaQuestion;
use herring_origin::{Listed, ObjectInfo, Page};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Meta;
use super::json;
use super::kept::Kept;
use super::known::{Known, MEMORY};
use super::word::{Refusal, Told, Word};

fn key(key: &str) -> MetaQuestion {
    MetaQuestion::Key { origin: "o".into(), key: key.into() }
}

fn page() -> MetaQuestion {
    MetaQuestion::Page { origin: "o".into(), prefix: "p".into(), token: None }
}

fn object(key: &str) -> Word {
    let object = ObjectRef { origin: "o".into(), key: key.into(), version: "\"v\"".into(), size: 7 };
    Word::Object(ObjectInfo { object, modified: SystemTime::UNIX_EPOCH })
}

fn meta() -> Meta {
    Meta::new(&TaskTracker::new(), &CancellationToken::new())
}

#[test]
fn what_is_told_is_what_is_heard() {
    let listed = Listed::Object { name: "ü \"".into(), size: 1, modified: SystemTime::UNIX_EPOCH, version: None };
    let page = Page { entries: vec![Listed::Directory { name: "d".into() }, listed], next: Some("token".into()) };
    let words = [
        object("k"),
        Word::Directory,
        Word::Page(Arc::new(page)),
        Word::Document(Bytes::from_static(br#"{"a":["b\\\"c"]}"#)),
        Word::Commit("c0ffee".into()),
        Word::Nothing,
        Word::Unlisted("no index".into()),
    ];
    let refusals = [Refusal::Denied("d".into()), Refusal::Busy("b".into()), Refusal::Unavailable(String::new())];
    for said in words.into_iter().map(Ok).chain(refusals.into_iter().map(Err)) {
        let told = Told { origin: "s3://b".into(), said: said.clone() };
        let told = json::write(told, 0).now_or_never().expect("short ones need no thread").unwrap();
        let heard: Told = json::read(told).now_or_never().expect("short ones need no thread").unwrap();
        assert_eq!((heard.origin.as_str(), heard.said), ("s3://b", said));
    }
}

#[test]
fn what_is_kept_is_what_was_said_and_short() {
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_767_225_600, 123_456_789);
    let version = Some(format!("\"{}\"", "d41d8cd98f00b204e9800998ecf8427e"));
    let object = |n: u32| Listed::Object {
        name: format!("model-{n:05}.safetensors"),
        size: 5_000_000_000,
        modified,
        version: version.clone(),
    };
    let mut entries: Vec<Listed> = (0..999).map(object).collect();
    entries.push(Listed::Directory { name: "ü".into() });
    for word in [Word::Page(Arc::new(Page { entries, next: Some("token".into()) })), Word::Page(Arc::default()), Word::Nothing] {
        let kept = serde_json::to_vec(&Kept::new("s3://b".into(), 7, &word)).unwrap();
        assert!(kept.len() < 120_000, "{} bytes: a million keys would not be remembered", kept.len());
        let kept: Kept = serde_json::from_slice(&kept).unwrap();
        assert_eq!((kept.origin.as_str(), kept.said_ms), ("s3://b", 7));
        assert_eq!(kept.into_word(), word);
    }
}

#[test]
fn long_documents_are_written_and_read_off_the_runtimes_threads() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let word = Word::Document(Bytes::from(vec![b'x'; 2 << 20]));
    let told = || Told { origin: String::new(), said: Ok(word.clone()) };
    // With the only other thread held, nothing is done off this one: what is not done now would have been done there.
    let held = |work: &mut dyn FnMut() -> bool| {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let holds = runtime.spawn_blocking(move || wait.recv());
        let _inside = runtime.enter();
        assert!(work(), "done on the runtime's own thread");
        drop(release);
        assert!(runtime.block_on(holds).unwrap().is_err());
    };
    held(&mut || json::write(told(), word.weight()).now_or_never().is_none());
    let text = runtime.block_on(json::write(told(), word.weight())).unwrap();
    held(&mut || json::read::<Told>(text.clone()).now_or_never().is_none());
    assert!(runtime.block_on(json::read::<Told>(text)).unwrap().said == Ok(word));
}

#[test]
fn a_document_that_is_no_text_is_told_to_nobody() {
    let told = Told { origin: String::new(), said: Ok(Word::Document(Bytes::from_static(b"\xff"))) };
    assert!(serde_json::to_string(&told).is_err());
}

#[test]
fn only_an_answer_to_the_question_is_one() {
    assert!(object("k").answers(&key("k")));
    assert!(!object("other").answers(&key("k")), "another object would be opened");
    assert!(!object("k").answers(&page()));
    assert!(!Word::Directory.answers(&page()));
    assert!(Word::Unlisted(String::new()).answers(&page()));
    assert!(Word::Nothing.answers(&key("k")) && Word::Nothing.answers(&page()));
}

/// What a peer lists is shown by mounts, and joined to paths.
#[test]
fn a_page_with_names_that_lead_elsewhere_is_no_answer() {
    let word = |names: &[&str]| {
        let entries = names.iter().map(|name| herring_origin::Listed::Directory { name: (*name).into() }).collect();
        Word::Page(Arc::new(herring_origin::Page { entries, next: None }))
    };
    assert!(word(&["a", "b c"]).answers(&page()) && word(&[]).answers(&page()));
    for wrong in [&["a", ".."][..], &["."], &[""], &["a/b"], &["/etc"], &["a\0"], &["a\n"]] {
        assert!(!word(wrong).answers(&page()), "{wrong:?}");
    }
    assert!(!word(&vec!["a"; 10_001]).answers(&page()));
}

#[test]
fn who_waited_for_an_origin_may_have_its_answer_though_it_was_asked_before() {
    let hour = Duration::from_secs(3600);
    let first_hand = Known::new(Word::Directory, hour, true);
    assert!(first_hand.age() >= hour && first_hand.is_within(Duration::from_secs(60)));
    let heard = Known::new(Word::Directory, hour, false);
    assert!(!heard.is_within(Duration::from_secs(60)), "it was said an hour ago, whenever it was heard");
    assert!(heard.is_within(2 * hour));
}

#[test]
fn a_doubt_is_about_what_was_asked_for_before_it() {
    let (meta, minute) = (meta(), Duration::from_secs(60));
    let before = Known::new(Word::Directory, minute, true);
    assert!(!meta.is_doubtful(&key("k"), &before));
    meta.doubt(key("k"));
    assert!(meta.is_doubtful(&key("k"), &before));
    assert!(!meta.is_doubtful(&key("other"), &before));
    assert!(!meta.is_doubtful(&key("k"), &Known::new(Word::Directory, Duration::ZERO, true)));
}

#[test]
fn memory_is_bounded_and_still_takes_the_largest_document() {
    let meta = meta();
    let (large, document) =
        (Bytes::from(vec![b' '; 31 << 20]), |n: u32| MetaQuestion::Document { origin: "o".into(), path: n.to_string() });
    for n in 0..20 {
        meta.answers.insert(document(n), Arc::new(Known::new(Word::Document(large.clone()), Duration::ZERO, true)));
        assert!(meta.answers.get(&document(n)).is_some(), "the last one is remembered");
        assert!(meta.answers.weight() <= MEMORY);
    }
    for n in 0..200_000 {
        let name = n.to_string();
        meta.answers.insert(key(&name), Arc::new(Known::new(object(&name), Duration::ZERO, true)));
    }
    assert!(meta.answers.weight() <= MEMORY);
}

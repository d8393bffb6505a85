use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use herring_blob::{ByteRange, MAX_CHUNK_SIZE, ObjectRef};
use herring_origin::{Lifetime, Listed, Origin, OriginError, PAGE, Page};

use crate::truth::{Index, Shown, Truth};

/// The promises. What the origin shows is empty.
pub async fn conforms(shown: &Shown) {
    let Shown { origin, truth, index, .. } = shown;
    if *index != Index::None {
        an_empty_root_is_an_empty_page(origin).await;
    }
    heads_name_versions(shown).await;
    ranges_are_exact(origin, truth).await;
    the_first_bytes_come_with_the_version(origin, truth).await;
    any_legal_key_works(origin, truth).await;
    hostile_keys_are_refused(origin).await;
    another_version_is_never_given(origin, truth).await;
    what_is_missing_is_not_found(origin).await;
    directories_are_told_from_objects(shown).await;
    ranges_may_be_read_at_once(origin, truth).await;
    it_has_neither_commits_nor_documents(origin).await;
    if *index == Index::None {
        return what_is_not_listed_says_so(origin).await;
    }
    odd_names_are_listed(shown).await;
    what_is_missing_is_not_listed(origin).await;
    lists_are_one_level(origin, truth).await;
    pages_are_the_whole_list(origin, truth).await;
}

pub async fn head(origin: &Origin, key: &str) -> ObjectRef {
    origin.head(key).await.unwrap().object
}

/// All of it at once.
pub async fn read(origin: &Origin, object: &ObjectRef, range: ByteRange) -> Result<Bytes, OriginError> {
    let whole = origin.read(object, range).await?.try_fold(Vec::new(), |mut whole, part| async move {
        whole.extend_from_slice(&part);
        Ok(whole)
    });
    whole.await.map(Bytes::from)
}

/// Names of a page that is all there is, directories with a slash.
pub async fn list(origin: &Origin, prefix: &str) -> Result<Vec<String>, OriginError> {
    let page = origin.list(prefix, None).await?;
    assert_eq!(page.next, None);
    Ok(names(&page))
}

pub fn names(page: &Page) -> Vec<String> {
    let slash = |entry: &Listed| if matches!(entry, Listed::Directory { .. }) { "/" } else { "" };
    page.entries.iter().map(|entry| format!("{}{}", entry.name(), slash(entry))).collect()
}

pub async fn expect_changed(origin: &Origin, object: &ObjectRef, range: ByteRange) {
    let (key, version) = (object.key.clone(), object.version.clone());
    let changed = OriginError::Changed { origin: "truth".into(), key, version };
    assert_eq!(read(origin, object, range).await, Err(changed), "{range} of {object:?}");
}

pub fn pattern(len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().map(|byte| byte.wrapping_mul(31)).take(len).collect()
}

async fn an_empty_root_is_an_empty_page(origin: &Origin) {
    assert_eq!(origin.list("", None).await, Ok(Page::default()));
}

async fn heads_name_versions(Shown { origin, truth, has_times, .. }: &Shown) {
    truth.write("models/one.bin", b"one").await;
    let info = origin.head("models/one.bin").await.unwrap();
    assert_eq!((info.object.origin.as_str(), info.object.key.as_str(), info.object.size), ("truth", "models/one.bin", 3));
    assert!(!info.object.version.is_empty());
    if *has_times {
        let written = truth.modified("models/one.bin").await;
        assert!((written..written + Duration::from_secs(1)).contains(&info.modified), "{:?}, {written:?}", info.modified);
    }
    assert_eq!(origin.head("models/one.bin").await.unwrap(), info);
}

/// A kind of origin may give the version alone, but never other bytes than these.
async fn the_first_bytes_come_with_the_version(origin: &Origin, truth: &Truth) {
    for (key, size) in [("first/none", 0), ("first/few", 3), ("first/many", 100_003)] {
        let bytes = pattern(size);
        truth.write(key, &bytes).await;
        for most in [1, 70_001, u64::MAX] {
            let (info, parts) = origin.open(key, most).await.unwrap();
            assert_eq!(info, origin.head(key).await.unwrap(), "{key}");
            let Some(parts) = parts else { continue };
            let wanted = size.min(usize::try_from(most).unwrap_or(usize::MAX));
            let got: Vec<_> = parts.try_collect::<Vec<_>>().await.unwrap().concat();
            assert!(got == bytes[..wanted] && wanted > 0, "{key} {most}");
        }
    }
    assert_eq!(origin.open("nothing-here", 1).await.err().map(|error| error.kind()), Some("not_found"));
}

async fn ranges_are_exact(origin: &Origin, truth: &Truth) {
    let bytes = pattern(100_003);
    truth.write("ranges", &bytes).await;
    let object = head(origin, "ranges").await;
    assert_eq!(object.size, 100_003);
    for (start, end) in [(0, 1), (100_002, 100_003), (0, 100_003), (4095, 70_001), (5, 5), (100_003, 100_003)] {
        let part = read(origin, &object, ByteRange::new(start, end)).await.unwrap();
        assert_eq!(part, bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()], "{start}..{end}");
    }
    for (start, end) in [(100_002, 100_004), (100_004, 100_004), (0, u64::MAX)] {
        let error = read(origin, &object, ByteRange::new(start, end)).await.unwrap_err();
        assert_eq!(error.kind(), "out_of_range", "{error}");
    }
    let huge = ObjectRef { size: u64::MAX, ..object };
    let error = read(origin, &huge, ByteRange::at(0, u64::from(MAX_CHUNK_SIZE) + 1)).await.unwrap_err();
    assert_eq!(error.kind(), "out_of_range", "one read holds no more than a chunk in memory");

    truth.write("empty", b"").await;
    let empty = head(origin, "empty").await;
    assert_eq!(empty.size, 0);
    assert_eq!(read(origin, &empty, ByteRange::new(0, 0)).await.unwrap(), "");
}

const ODD: [&str; 9] = ["with space", "ünïcode 鯡", "100%", "%2e%2e", "a+b&c=d?e", "~`'\"<>[]{}^\\", "part#1", "...", "-f"];

/// In a container a backslash is a slash.
fn odd(truth: &Truth) -> Vec<&'static str> {
    ODD.into_iter().filter(|name| !(matches!(truth, Truth::Container(..)) && name.contains('\\'))).collect()
}

async fn any_legal_key_works(origin: &Origin, truth: &Truth) {
    for key in odd(truth).into_iter().map(|name| format!("odd/{name}")) {
        truth.write(&key, key.as_bytes()).await;
        let object = head(origin, &key).await;
        assert_eq!(read(origin, &object, ByteRange::new(0, object.size)).await.unwrap(), key.as_bytes());
    }
}

async fn odd_names_are_listed(Shown { origin, truth, index, .. }: &Shown) {
    let mut expected = odd(truth);
    expected.retain(|name| *index == Index::Whole || !name.starts_with('.'));
    expected.sort();
    assert_eq!(list(origin, "odd").await.unwrap(), expected);
}

async fn hostile_keys_are_refused(origin: &Origin) {
    for key in ["/etc/passwd", "../secret", "a/../../secret", "a/./b", "a//b", "a/", "nul\0", "new\nline"] {
        let object = ObjectRef { origin: "truth".into(), key: key.into(), version: "v".into(), size: 1 };
        let errors = [
            origin.head(key).await.unwrap_err(),
            read(origin, &object, ByteRange::new(0, 1)).await.unwrap_err(),
            origin.list(key, None).await.unwrap_err(),
            origin.is_directory(key).await.unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == "invalid_key"), "{errors:?}");
    }
    assert_eq!(origin.head("").await.unwrap_err().kind(), "invalid_key");
}

async fn another_version_is_never_given(origin: &Origin, truth: &Truth) {
    truth.write("changing", b"first").await;
    let first = head(origin, "changing").await;
    let lies = [
        ObjectRef { version: "\"other\"".into(), ..first.clone() },
        ObjectRef { version: "other".into(), ..first.clone() },
        ObjectRef { size: 4, version: "\"other\"".into(), ..first.clone() },
        ObjectRef { size: 50, version: "\"other\"".into(), ..first.clone() },
    ];
    for lie in lies {
        expect_changed(origin, &lie, ByteRange::new(0, 1)).await;
        expect_changed(origin, &lie, ByteRange::new(2, lie.size)).await;
        expect_changed(origin, &lie, ByteRange::new(1, 1)).await;
    }
    expect_changed(origin, &ObjectRef { size: 50, ..first.clone() }, ByteRange::new(10, 20)).await;

    truth.write("changing", b"second").await;
    expect_changed(origin, &first, ByteRange::new(0, 5)).await;
    let second = head(origin, "changing").await;
    assert_ne!(first.id(), second.id());
    assert_eq!(read(origin, &second, ByteRange::new(0, 6)).await.unwrap(), "second");
}

fn missing(key: &str) -> OriginError {
    OriginError::NotFound { origin: "truth".into(), key: key.into() }
}

async fn what_is_missing_is_not_found(origin: &Origin) {
    let object = ObjectRef { origin: "truth".into(), key: "no".into(), version: "\"v\"".into(), size: 9 };
    assert_eq!(origin.head("no/such").await, Err(missing("no/such")));
    assert_eq!(origin.head("ranges/below-an-object").await, Err(missing("ranges/below-an-object")));
    // Of a version of what is not there some say that it is another one now; who looks it up again finds nothing.
    for range in [ByteRange::new(0, 9), ByteRange::new(0, 0)] {
        let error = read(origin, &object, range).await.unwrap_err();
        assert!(error == missing("no") || matches!(error, OriginError::Changed { .. }), "{error}");
    }
}

async fn what_is_missing_is_not_listed(origin: &Origin) {
    assert_eq!(origin.list("no/such", None).await, Err(missing("no/such")));
    assert_eq!(origin.list("range", None).await, Err(missing("range")), "part of a name is no directory");
    assert_eq!(origin.list("ranges", None).await, Err(missing("ranges")), "an object is no directory");
}

async fn directories_are_told_from_objects(Shown { origin, truth, index, .. }: &Shown) {
    truth.write("walk/one/two/three", b"3").await;
    assert_eq!(origin.head("walk/one").await.unwrap_err().kind(), "not_found", "a directory is no object");
    assert_eq!(origin.open("walk/one", 1).await.err().map(|error| error.kind()), Some("not_found"));
    for (key, is_directory) in
        [("", true), ("walk", true), ("walk/one/two", true), ("walk/one/two/three", false), ("ranges", false)]
    {
        assert_eq!(origin.is_directory(key).await, Ok(is_directory), "{key}");
    }
    // Where nobody tells, one may walk anywhere.
    for key in ["no", "no/such/thing", "wal", "walk/on"] {
        assert_eq!(origin.is_directory(key).await, Ok(*index == Index::None), "{key}");
    }
}

async fn what_is_not_listed_says_so(origin: &Origin) {
    for prefix in ["", "walk", "walk/one"] {
        let unlisted = OriginError::Unlisted { origin: "truth".into(), key: prefix.into() };
        assert_eq!(origin.list(prefix, None).await, Err(unlisted));
    }
}

async fn it_has_neither_commits_nor_documents(origin: &Origin) {
    assert!(origin.pinned());
    assert_eq!(origin.resolve().await.unwrap_err().kind(), "not_found");
    assert_eq!(origin.document("models/m").await.unwrap_err().kind(), "not_found");
    assert_eq!(origin.lifetime("ranges"), Lifetime::For(origin.ttl()));
}

async fn lists_are_one_level(origin: &Origin, truth: &Truth) {
    for key in ["list/b", "list/sub/one", "list/sub/deep/two", "list/suburb", "listing/other", "list/z/y"] {
        truth.write(key, key.as_bytes()).await;
    }
    let listed = origin.list("list", None).await.unwrap();
    assert_eq!(names(&listed), ["b", "sub/", "suburb", "z/"]);
    assert_eq!(list(origin, "list/sub").await.unwrap(), ["deep/", "one"]);
    assert!(list(origin, "").await.unwrap().contains(&"listing/".to_owned()));
    let info = origin.head("list/b").await.unwrap();
    let Listed::Object { size, version, modified, .. } = &listed.entries[0] else { panic!("{listed:?}") };
    assert_eq!(*size, info.object.size);
    assert!(version.as_ref().is_none_or(|version| *version == info.object.version), "{version:?}");
    assert!(info.modified.duration_since(*modified).unwrap_or_else(|error| error.duration()) < Duration::from_secs(1));
}

/// 1,200 are more than a page.
async fn pages_are_the_whole_list(origin: &Origin, truth: &Truth) {
    let expected: Vec<String> = (1000..2200).map(|n| n.to_string()).collect();
    truth.write_many(expected.iter().map(|name| format!("many/{name}"))).await;
    let (mut all, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = origin.list("many", token.as_deref()).await.unwrap();
        let names = names(&page);
        assert!(names.len() <= PAGE && names.is_sorted());
        all.extend(names);
        pages += 1;
        let again = origin.list("many", token.as_deref()).await.unwrap();
        assert_eq!(again.entries, page.entries, "a page may be asked for again");
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    all.sort();
    assert_eq!((all, pages), (expected, 2));
}

async fn ranges_may_be_read_at_once(origin: &Origin, truth: &Truth) {
    let bytes = pattern(16 * 10_000);
    truth.write("wide", &bytes).await;
    let object = head(origin, "wide").await;
    let reads = (0..16).map(|n| read(origin, &object, ByteRange::at(n * 10_000, 10_000)));
    assert_eq!(try_join_all(reads).await.unwrap().concat(), bytes);
}

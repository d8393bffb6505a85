use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use futures_util::TryStreamExt;
use herring_blob::ByteRange;
use herring_origin::{Origin, PAGE};
use tempfile::TempDir;

use crate::directory;
use crate::promises::{expect_changed, head, list, names, read};
use crate::truth::Truth;

#[tokio::test]
async fn links_stay_inside_the_directory() {
    let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    Truth::directory(outside.path()).write("secret", b"secret").await;
    Truth::directory(root.path()).write("blobs/abc", b"inside").await;
    symlink("../blobs/abc", root.path().join("blobs/relative")).unwrap();
    symlink(root.path().join("blobs/abc"), root.path().join("absolute")).unwrap();
    symlink(outside.path().join("secret"), root.path().join("out")).unwrap();
    symlink(outside.path(), root.path().join("outdir")).unwrap();
    let origin = directory(root.path());

    for key in ["absolute", "blobs/relative"] {
        let object = head(&origin, key).await;
        assert_eq!(read(&origin, &object, ByteRange::new(0, 6)).await.unwrap(), "inside");
    }
    for key in ["out", "outdir/secret"] {
        assert_eq!(origin.head(key).await.unwrap_err().kind(), "denied");
    }
    assert_eq!(origin.list("outdir", None).await.unwrap_err().kind(), "denied");
    assert_eq!(origin.is_directory("outdir").await.unwrap_err().kind(), "denied");
    assert_eq!(list(&origin, "").await.unwrap(), ["absolute", "blobs/"]);
}

#[tokio::test]
async fn a_file_that_was_touched_is_another_version() {
    let root = TempDir::new().unwrap();
    let origin = directory(root.path());
    let path = root.path().join("file");
    let whole = ByteRange::new(0, 4);

    fs::write(&path, "1234").unwrap();
    let object = head(&origin, "file").await;
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"5").unwrap();
    expect_changed(&origin, &object, whole).await;

    let object = head(&origin, "file").await;
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(root.path().join("new"), "abcde").unwrap();
    fs::File::open(root.path().join("new")).unwrap().set_modified(modified).unwrap();
    fs::rename(root.path().join("new"), &path).unwrap();
    expect_changed(&origin, &object, whole).await;

    let object = head(&origin, "file").await;
    fs::File::open(&path).unwrap().set_modified(modified + Duration::from_nanos(1)).unwrap();
    expect_changed(&origin, &object, whole).await;
}

#[tokio::test]
async fn a_file_is_shown_part_by_part_and_nothing_of_its_next_version() {
    let (size, size_in_bytes) = (1 << 20, 1 << 20);
    let root = TempDir::new().unwrap();
    let origin = directory(root.path());
    let path = root.path().join("file");
    let overwritten = || fs::write(&path, vec![b'b'; size]).unwrap();
    let replaced = || {
        fs::write(root.path().join("new"), vec![b'b'; size]).unwrap();
        fs::rename(root.path().join("new"), &path).unwrap();
    };
    let cut = || fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(300_000).unwrap();
    let changes: [&dyn Fn(); 3] = [&overwritten, &replaced, &cut];
    for change in changes {
        fs::write(&path, vec![b'a'; size]).unwrap();
        let object = head(&origin, "file").await;
        let mut parts = origin.read(&object, ByteRange::new(0, size_in_bytes)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(parts.try_next().await.unwrap().unwrap(), vec![b'a'; 256 << 10]);
        }
        change();
        assert_eq!(parts.try_next().await.unwrap_err().kind(), "changed");
        assert_eq!(parts.try_next().await, Ok(None), "an error is the end");
    }
}

#[tokio::test]
async fn what_is_no_file_is_not_found_and_not_waited_for() {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("dir")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.path().join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let origin = directory(root.path());
    for key in ["dir", "pipe"] {
        assert_eq!(origin.head(key).await.unwrap_err().kind(), "not_found");
    }
    assert_eq!(list(&origin, "dir").await, Ok(vec![]));
    assert_eq!([origin.is_directory("dir").await, origin.is_directory("pipe").await], [Ok(true), Ok(false)]);
    assert_eq!(list(&origin, "").await.unwrap(), ["dir/"]);
}

#[tokio::test]
async fn a_directory_that_is_gone_has_not_been_emptied() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("a"), b"a").unwrap();
    let origin = directory(root.path());
    let object = head(&origin, "a").await;
    drop(root);
    let kind = |error: herring_origin::OriginError| error.kind();
    assert_eq!(origin.list("", None).await.map_err(kind), Err("unavailable"));
    assert_eq!(origin.head("a").await.map_err(kind), Err("unavailable"));
    assert_eq!(read(&origin, &object, ByteRange::new(0, 1)).await.map_err(kind), Err("unavailable"));
}

#[tokio::test]
async fn a_directory_that_changes_between_pages_is_listed_on() {
    let root = TempDir::new().unwrap();
    let name = |n: usize| format!("{n:05}");
    (0..3 * PAGE).for_each(|n| fs::write(root.path().join(name(n)), "").unwrap());
    let origin = directory(root.path());
    let first = origin.list("", None).await.unwrap();
    // The name that the page ended with, one that was to come, and a new one.
    fs::remove_file(root.path().join(name(PAGE - 1))).unwrap();
    fs::remove_file(root.path().join(name(PAGE))).unwrap();
    fs::write(root.path().join(name(9 * PAGE)), "").unwrap();
    let second = origin.list("", first.next.as_deref()).await.unwrap();
    assert_eq!((names(&second)[0].clone(), second.entries.len()), (name(PAGE + 1), PAGE - 1));

    // Another node, which has not read the directory before, goes on with the same token.
    let third = directory(root.path()).list("", second.next.as_deref()).await.unwrap();
    assert_eq!(names(&third)[0], name(2 * PAGE));
    assert_eq!(third.next, Some(name(3 * PAGE - 1)), "the new one is seen by who reads anew");
}

/// All paths below the root, as whoever walks through the listings finds them.
async fn walk(origin: &Origin) -> Vec<String> {
    let (mut found, mut ahead) = (Vec::new(), vec![String::new()]);
    while let Some(directory) = ahead.pop() {
        for name in list(origin, directory.trim_end_matches('/')).await.unwrap() {
            let path = format!("{directory}{name}");
            assert!(path.len() < 100, "{path}");
            if path.ends_with('/') {
                ahead.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn links_that_lead_back_are_not_listed() {
    let root = TempDir::new().unwrap();
    let truth = Truth::directory(root.path());
    for key in ["a/x", "b/y", "deep/er/z"] {
        truth.write(key, b"").await;
    }
    let links =
        [("here", "."), ("deep/up", ".."), ("deep/er/up", ".."), ("a/to-b", "../b"), ("b/to-a", "../a"), ("to-er", "deep/er")];
    for (link, target) in links {
        symlink(target, root.path().join(link)).unwrap();
    }
    let expected = [
        "a/",
        "a/to-b/",
        "a/to-b/y",
        "a/x",
        "b/",
        "b/to-a/",
        "b/to-a/x",
        "b/y",
        "deep/",
        "deep/er/",
        "deep/er/z",
        "to-er/",
        "to-er/z",
    ];
    let origin = directory(root.path());
    assert_eq!(walk(&origin).await, expected);
    assert_eq!(head(&origin, "here/a/to-b/to-a/x").await.size, 0, "who names them may go through them");
}

//! Names and the trees that they point at.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::listing::is_dot;

/// A directory with a bit of everything, planted as `models/tiny`.
async fn planted() -> (Rig, HerringFs, tempfile::TempDir) {
    let (rig, fs) = rig();
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| fs::write(dir.path().join(path), bytes).unwrap();
    fs::create_dir_all(dir.path().join("sub/empty")).unwrap();
    write("config.json", b"{}");
    write("empty", b"");
    write("sub/small", &pattern(3 * CHUNK as usize, 21));
    write("big", &pattern((3 << 20) + 5, 22));
    write("tool", b"#!/bin/sh\n");
    fs::set_permissions(dir.path().join("tool"), fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("../nowhere", dir.path().join("sub/dangling")).unwrap();
    rig.plant(dir.path(), "models/tiny").await;
    (rig, fs, dir)
}

async fn attr(fs: &HerringFs, path: &str) -> FileAttr {
    walk(fs, path).await.unwrap_or_else(|error| panic!("{path}: {error:?}")).attr
}

#[tokio::test]
async fn a_name_is_the_directory_that_it_points_at() {
    let (_rig, fs, dir) = planted().await;
    assert_eq!(names(&fs, NAMES).await, [".", "..", "models"]);
    assert_eq!(names(&fs, attr(&fs, "names/models").await.ino.0).await, [".", "..", "tiny"]);
    let top = attr(&fs, "names/models/tiny").await.ino.0;
    assert_eq!(names(&fs, top).await, [".", "..", "big", "config.json", "empty", "sub", "tool"]);
    for path in ["config.json", "empty", "sub/small", "big", "tool"] {
        let (ours, theirs) =
            (attr(&fs, &format!("names/models/tiny/{path}")).await, fs::metadata(dir.path().join(path)).unwrap());
        assert_eq!((ours.size, u32::from(ours.perm)), (theirs.len(), theirs.permissions().mode() & 0o7777), "{path}");
        assert_eq!(ours.mtime, theirs.modified().unwrap(), "{path}");
        assert!(read_all(&fs, ours.ino.0, 100_000).await == fs::read(dir.path().join(path)).unwrap(), "{path}");
        assert!(read_all(&fs, ours.ino.0, 4099).await == fs::read(dir.path().join(path)).unwrap(), "{path}, in small reads");
    }
    let link = attr(&fs, "names/models/tiny/sub/dangling").await;
    assert_eq!((link.kind, link.size), (FileType::Symlink, 10));
    assert_eq!(fs.readlink(link.ino.0).unwrap().to_str(), Some("../nowhere"));
    assert_eq!((attr(&fs, "names/models/tiny").await.nlink, attr(&fs, "names/models/tiny/sub/empty").await.nlink), (3, 2));
}

#[tokio::test]
async fn what_is_listed_of_names_and_trees_is_what_a_lookup_finds() {
    let (rig, fs, _dir) = planted().await;
    rig.name("models/file", rig.put(&pattern(100, 23)).await).await;
    for directory in ["names", "names/models", "names/models/tiny", "names/models/tiny/sub"] {
        // A name whose tree does not open in 2 s is listed without what is in it.
        attr(&fs, "names/models/tiny/sub").await;
        let listed = entered(&fs, attr(&fs, directory).await.ino.0).await;
        for (name, of_listing) in listed.iter().filter(|(name, _)| !is_dot(name)) {
            assert_eq!(&attr(&fs, &format!("{directory}/{name}")).await, of_listing, "{directory}/{name}");
        }
    }
    let file = attr(&fs, "names/models/file").await;
    assert_eq!((file.kind, file.perm, file.size), (FileType::RegularFile, 0o444, 100));
    assert!(read_all(&fs, file.ino.0, 64).await == pattern(100, 23));
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_into_is_listed_but_is_no_empty_directory() {
    let (rig, fs) = rig();
    rig.name("gone", BlobId::of(b"of which no node has anything")).await;
    let part = fs.listing(NAMES, fs.open_directory(), 2).await.unwrap();
    let mut told = Vec::new();
    fs.enter_all(NAMES, &part, |_, name, entry| {
        told.push((name.to_owned(), entry.attr, entry.name_ttl));
        false
    });
    let [(name, attr, ttl)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((name.as_str(), attr.kind, *ttl), ("gone", FileType::Directory, Duration::ZERO));
    assert_eq!(fs.listing(attr.ino.0, fs.open_directory(), 0).await.err().unwrap().errno(), Errno::ESTALE);
    assert_eq!(walk(&fs, "names/gone").await.unwrap_err(), Errno::ESTALE);
}

#[tokio::test]
async fn what_a_tree_says_is_answered_without_waiting() {
    let (_rig, fs, _dir) = planted().await;
    let top = attr(&fs, "names/models/tiny").await.ino.0;
    let now = |parent, name: &str| fs.lookup_now(parent, name.as_ref()).expect("without waiting");
    let sub = now(top, "sub").unwrap();
    assert_eq!((sub.name_ttl, sub.attr_ttl), (FOR_EVER, FOR_EVER));
    assert_eq!(now(top, "big").unwrap().name_ttl, FOR_EVER);
    assert_eq!(now(sub.attr.ino.0, "none").unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(now(top, &"n".repeat(256)).unwrap_err().errno(), Errno::ENAMETOOLONG);
    assert_eq!(now(now(top, "empty").unwrap().attr.ino.0, "x").unwrap_err().errno(), Errno::ENOTDIR);
    assert_eq!(fs.listing_now(sub.attr.ino.0, 0).unwrap().items().count(), 5);
    assert_eq!(fs.read(sub.attr.ino.0, 0, 1).await.unwrap_err().errno(), Errno::EISDIR);
    let small = now(sub.attr.ino.0, "small").unwrap().attr.ino.0;
    fs.read(small, 0, 1).await.unwrap();
    let mut buffer = [0; 100];
    assert_eq!(fs.read_local(small, 7, &mut buffer).unwrap(), &pattern(200, 21)[7..107]);
    assert_eq!(fs.read_local(small, 3 * u64::from(CHUNK) - 3, &mut buffer).unwrap().len(), 3, "it ends before its pack");
}

#[tokio::test]
async fn a_name_that_moves_is_another_directory_and_what_did_not_change_is_the_same_file() {
    let (rig, fs, dir) = planted().await;
    let (top, config, big) = (
        attr(&fs, "names/models/tiny").await.ino,
        attr(&fs, "names/models/tiny/config.json").await.ino,
        attr(&fs, "names/models/tiny/big").await.ino,
    );
    fs::write(dir.path().join("config.json"), b"{\"new\": 1}").unwrap();
    rig.plant(dir.path(), "models/tiny").await;
    rig.plant(dir.path(), "models/other").await;
    let new = walk(&fs, "names/models/tiny").await.unwrap();
    assert_eq!((new.name_ttl, new.attr_ttl), (NAME_TTL, FOR_EVER));
    assert_ne!(new.attr.ino, top);
    assert_ne!(attr(&fs, "names/models/tiny/config.json").await.ino, config);
    assert_eq!(fs.read(config.0, 0, 100).await.unwrap(), "{}", "who has it open goes on");
    assert_eq!(attr(&fs, "names/models/tiny/big").await.ino, big);
    assert_eq!(attr(&fs, "names/models/other/big").await.ino, big);
    assert_ne!(attr(&fs, "names/models/other").await.ino, new.attr.ino, "a directory is in one place only");
    assert_eq!(walk(&fs, "names/models/other").await.unwrap().attr.perm, new.attr.perm);
}

#[tokio::test]
async fn names_of_the_swarm_itself_are_not_shown() {
    let (rig, fs) = rig();
    let id = rig.put(b"x").await;
    for name in [".profiles/x", "a/.b", "a/b/c/d", "a-b", "a0"] {
        rig.name(name, id).await;
    }
    assert_eq!(names(&fs, NAMES).await, [".", "..", "a", "a-b", "a0"]);
    assert_eq!(names(&fs, attr(&fs, "names/a").await.ino.0).await, [".", "..", ".b", "b"]);
    assert_eq!(walk(&fs, "names/.profiles").await.unwrap_err(), Errno::ENOENT);
    assert_eq!(walk(&fs, "names/.profiles/x").await.unwrap_err(), Errno::ENOENT);
    assert_eq!(walk(&fs, "names/a/none").await.unwrap_err(), Errno::ENOENT);
    assert_eq!(walk(&fs, "names/a/b").await.unwrap().name_ttl, ABOVE_NAMES_TTL);
    rig.swarm.delete_name("a-b", herring_swarm::Condition::Always).await.unwrap();
    assert_eq!(walk(&fs, "names/a-b").await.unwrap_err(), Errno::ENOENT);
}

#[tokio::test]
async fn a_name_hides_those_below_it() {
    let (rig, fs, dir) = planted().await;
    let id = rig.put(b"other").await;
    for name in ["models/tiny/config.json", "models/tiny/new", "models/file", "models/file/x"] {
        rig.name(name, id).await;
    }
    assert_eq!(names(&fs, attr(&fs, "names/models").await.ino.0).await, [".", "..", "file", "tiny"]);
    let config = attr(&fs, "names/models/tiny/config.json").await;
    assert!(read_all(&fs, config.ino.0, 100).await == fs::read(dir.path().join("config.json")).unwrap());
    assert_eq!(walk(&fs, "names/models/tiny/new").await.unwrap_err(), Errno::ENOENT);
    let file = attr(&fs, "names/models/file").await;
    assert_eq!(file.kind, FileType::RegularFile);
    assert_eq!(walk(&fs, "names/models/file/x").await.unwrap_err(), Errno::ENOTDIR);
    rig.swarm.delete_name("models/file", herring_swarm::Condition::Always).await.unwrap();
    assert_eq!(attr(&fs, "names/models/file").await.kind, FileType::Directory);
    assert!(read_all(&fs, attr(&fs, "names/models/file/x").await.ino.0, 100).await == b"other");
}

#[tokio::test]
async fn a_directory_of_many_names_is_listed_whole() {
    let (rig, fs) = rig();
    let id = rig.put(b"x").await;
    let mut wanted: Vec<_> = (0..150).map(|n| format!("n{n:03}")).collect();
    for name in &wanted {
        rig.name(name, id).await;
    }
    wanted.splice(0..0, [".".to_owned(), "..".to_owned()]);
    assert_eq!(names(&fs, NAMES).await, wanted);
}

#[tokio::test]
async fn a_tree_that_claims_more_than_its_blobs_have_gives_errors_and_no_bytes() {
    use herring_blob::{Mark, Tree, TreeEntry, TreeKind};
    let (rig, fs) = rig();
    let blob = rig.put(&pattern(100, 24)).await;
    let entry = |path: &str, kind| TreeEntry { path: path.into(), mode: 0o644, modified_ns: 0, kind };
    let file = |path, offset, size| entry(path, TreeKind::File { blob: 0, offset, size });
    let root = entry("", TreeKind::Directory { directory: Mark });
    let entries =
        vec![root, file("long", 50, 51), file("far", i64::MAX as u64 - 1, 1), file("large", 1, 2 << 20), file("right", 1, 99)];
    let tree = rig.put(&Tree::new(vec![blob], entries).unwrap().encode()).await;
    rig.name("m", tree).await;
    for path in ["names/m/long", "names/m/far", "names/m/large"] {
        assert_eq!(fs.read(attr(&fs, path).await.ino.0, 0, 10).await.unwrap_err().errno(), Errno::EIO, "{path}");
        assert!(fs.read_local(attr(&fs, path).await.ino.0, 0, &mut [0; 10]).is_none());
    }
    assert_eq!(fs.read(attr(&fs, "names/m/right").await.ino.0, 0, 200).await.unwrap(), &pattern(100, 24)[1..]);
}

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use herring_blob::{BlobId, Mark, Tree, TreeEntry, TreeKind};
use proptest::prelude::*;
use tempfile::TempDir;

use super::pack::parcels;
use super::send::check;
use super::staging::Staging;
use super::walk::{Kind, Walk};
use super::write::{Filler, Piece, finish_all, lay_out};

fn write(dir: &TempDir, path: &str, size: usize) {
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![7; size]).unwrap();
}

#[test]
fn a_walk_is_in_the_order_of_a_tree_and_follows_nothing() {
    let dir = TempDir::new().unwrap();
    for path in ["a/z", "a!", "a b/c", "a/b/c", "ab", "ü"] {
        write(&dir, path, 1);
    }
    fs::create_dir(dir.path().join("empty")).unwrap();
    symlink("/nowhere/at all", dir.path().join("link")).unwrap();
    symlink(".", dir.path().join("a/loop")).unwrap();
    let walk = Walk::of(dir.path()).unwrap();
    let paths: Vec<&str> = walk.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a/loop", "a/z", "a b", "a b/c", "a!", "ab", "empty", "link", "ü"]);
    let link = walk.entries.iter().find(|entry| entry.path == "link").unwrap();
    assert_eq!(link.kind, Kind::Link("/nowhere/at all".into()));
    walk.check().unwrap();
}

#[test]
fn what_no_tree_can_hold_is_refused_by_its_name() {
    let refused = |make: &dyn Fn(&Path)| {
        let dir = TempDir::new().unwrap();
        make(dir.path());
        Walk::of(dir.path()).unwrap_err().to_string()
    };
    let socket = refused(&|dir| drop(UnixListener::bind(dir.join("ear")).unwrap()));
    assert!(socket.contains("ear") && socket.contains("socket"), "{socket}");
    let name = std::ffi::OsString::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"n\xff"));
    assert!(refused(&|dir| fs::write(dir.join(&name), b"").unwrap()).contains("not UTF-8"));
    assert!(refused(&|dir| symlink(&name, dir.join("link")).unwrap()).contains("link"));
}

#[test]
fn what_changes_meanwhile_is_noticed() {
    let changes: [&dyn Fn(&Path); 5] = [
        &|dir| fs::write(dir.join("d/file"), b"Y").unwrap(),
        &|dir| fs::write(dir.join("d/new"), b"").unwrap(),
        &|dir| fs::remove_file(dir.join("d/file")).unwrap(),
        &|dir| fs::set_permissions(dir.join("d/file"), fs::Permissions::from_mode(0o600)).unwrap(),
        &|dir| fs::rename(dir.join("d"), dir.join("e")).unwrap(),
    ];
    for change in changes {
        let dir = TempDir::new().unwrap();
        write(&dir, "d/file", 1);
        fs::set_permissions(dir.path().join("d/file"), fs::Permissions::from_mode(0o644)).unwrap();
        let walk = Walk::of(dir.path()).unwrap();
        walk.check().unwrap();
        // Times are told by a clock of a few milliseconds: what happens within one tick looks as if it had been before.
        let before = fs::metadata(dir.path().join("d/file")).unwrap();
        while clock(&dir) <= (before.ctime(), before.ctime_nsec()) {
            std::thread::yield_now();
        }
        change(dir.path());
        assert!(walk.check().unwrap_err().to_string().contains("changed while"));
    }
}

/// What the filesystem takes for now.
fn clock(dir: &TempDir) -> (i64, i64) {
    let probe = tempfile::NamedTempFile::new_in(dir.path().parent().unwrap()).unwrap();
    let meta = probe.as_file().metadata().unwrap();
    (meta.ctime(), meta.ctime_nsec())
}

#[test]
fn small_files_share_blobs_and_large_ones_do_not() {
    let dir = TempDir::new().unwrap();
    for n in 0..70 {
        let path = dir.path().join(format!("{n:02}"));
        // Sparse: nothing is read here.
        fs::File::create(path).unwrap().set_len([1 << 20, (1 << 20) - 1, 0][n % 3]).unwrap();
    }
    let walk = Walk::of(dir.path()).unwrap();
    let parcels = parcels(&walk);
    let large = parcels.iter().filter(|parcel| parcel.size == 1 << 20).count();
    assert_eq!((parcels.len(), large), (25, 24), "23 small files make one pack");
    let mut files: Vec<usize> = parcels.iter().flat_map(|parcel| parcel.files.clone()).collect();
    files.sort_unstable();
    let due = (0..walk.entries.len()).filter(|index| walk.entries[*index].size() > 0);
    assert_eq!(files, due.collect::<Vec<_>>());
}

fn entry(path: &str, mode: u32, modified_ns: i64, kind: TreeKind) -> TreeEntry {
    TreeEntry { path: path.into(), mode, modified_ns, kind }
}

#[test]
fn modes_and_times_are_as_they_were_also_before_1970_and_read_only() {
    let dir = TempDir::new().unwrap();
    let directory = || TreeKind::Directory { directory: Mark };
    let file = |offset, size| TreeKind::File { blob: 0, offset, size };
    let entries = vec![
        entry("", 0o750, 1_000_000_001, directory()),
        entry("sub", 0o555, -1, directory()),
        entry("sub/run", 0o4755, -2_000_000_001, file(2, 3)),
        entry("sub/none", 0o000, 5, file(0, 0)),
        entry("sub/link", 0o777, 7_000_000_007, TreeKind::Link { target: "../../etc".into() }),
    ];
    let tree = Tree::new(vec![BlobId::of(b"abcde")], entries).unwrap();
    let (new, empty) = (dir.path().join("new"), dir.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    for target in [&new, &empty] {
        let staging = Staging::open(target).unwrap();
        let placed: Vec<_> =
            tree.entries().iter().map(|entry| (super::walk::place(staging.path(), &entry.path), entry)).collect();
        lay_out(staging.path(), &placed).unwrap();
        let path = staging.path().join("sub/run");
        let mut filler = Filler::new(vec![Piece { path, mode: 0o4755, modified_ns: -2_000_000_001, offset: 2, size: 3 }], 0);
        filler.fill(b"abcde").unwrap();
        finish_all(&placed).unwrap();
        staging.keep().unwrap();
        for entry in tree.entries() {
            let meta = fs::symlink_metadata(super::walk::place(target, &entry.path)).unwrap();
            assert_eq!(meta.mode() & 0o7777, entry.mode, "{}", entry.path);
            assert_eq!(meta.mtime() * 1_000_000_000 + meta.mtime_nsec(), entry.modified_ns, "{}", entry.path);
        }
        assert_eq!(fs::read(target.join("sub/run")).unwrap(), b"cde");
        assert_eq!(fs::read_dir(target).unwrap().count(), 1);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_directory_that_is_no_tree_of_a_size_is_refused() {
    let dir = TempDir::new().unwrap();
    write(&dir, "file", 1);
    let walk = Walk::of(dir.path()).unwrap();
    check(&walk, 1000).unwrap();
    let refused = check(&walk, 100).unwrap_err().to_string();
    assert!(refused.contains("at most 4000000 entries in 256 MiB") && refused.ends_with("Nothing was sent"), "{refused}");
}

#[test]
fn a_file_that_occurs_often_takes_few_descriptors() {
    let dir = TempDir::new().unwrap();
    let path = |n: usize| dir.path().join(n.to_string());
    let pieces = (0..200).map(|n| Piece { path: path(n), mode: 0o444, modified_ns: 0, offset: 0, size: 6 }).collect();
    let mut filler = Filler::new(pieces, 0);
    for bytes in [b"her", b"rin"] {
        filler.fill(bytes).unwrap();
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        assert!(open.filter(|file| file.starts_with(dir.path())).count() <= 64);
    }
    assert!(filler.is_done());
    assert!((0..200).all(|n| fs::read(path(n)).unwrap() == b"herrin"));
}

#[test]
fn what_is_not_kept_leaves_nothing_and_what_is_there_stays() {
    let dir = TempDir::new().unwrap();
    let (new, empty, full) = (dir.path().join("new"), dir.path().join("empty"), dir.path().join("full"));
    fs::create_dir(&empty).unwrap();
    write(&dir, "full/x", 1);
    for target in [&new, &empty] {
        let staging = Staging::open(target).unwrap();
        fs::create_dir(staging.path().join("sub")).unwrap();
        fs::write(staging.path().join("sub/file"), b"x").unwrap();
        fs::set_permissions(staging.path().join("sub"), fs::Permissions::from_mode(0o555)).unwrap();
        drop(staging);
    }
    assert!(!new.exists() && fs::read_dir(&empty).unwrap().count() == 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    assert!(Staging::open(&full).unwrap_err().to_string().contains("not empty"));
    assert!(Staging::open(&full.join("x")).is_err());
    assert!(full.join("x").exists());
}

#[test]
fn what_is_there_is_as_it_was_where_a_tree_is_not_kept() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
    let staging = Staging::open(dir.path()).unwrap();
    fs::write(staging.path().join("mine"), b"x").unwrap();
    fs::write(dir.path().join("another's"), b"y").unwrap();
    let refused = staging.keep().unwrap_err().to_string();
    assert!(refused.contains("meanwhile"), "{refused}");
    assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o750);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["another's"]);
}

#[test]
fn what_takes_the_name_meanwhile_is_all_that_is_left() {
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("out");
    let staging = Staging::open(&target).unwrap();
    fs::create_dir(staging.path().join("sub")).unwrap();
    fs::write(staging.path().join("sub/file"), b"x").unwrap();
    fs::set_permissions(staging.path().join("sub"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::write(&target, b"another's").unwrap();
    assert!(staging.keep().is_err());
    assert_eq!(fs::read(&target).unwrap(), b"another's");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    symlink("nowhere", dir.path().join("link")).unwrap();
    assert!(Staging::open(&dir.path().join("link")).unwrap_err().to_string().contains("is a link"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Also of files that share their bytes, as somebody else's tree may have them.
    #[test]
    fn files_are_filled_however_the_blob_comes(
        files in prop::collection::vec((0u64..400, 1u64..200), 0..12),
        cuts in prop::collection::vec(1usize..150, 1..8),
        start in 0u64..50,
    ) {
        let blob: Vec<u8> = (0..600u32).map(|n| (n % 251) as u8).collect();
        let dir = TempDir::new().unwrap();
        let path = |n: usize| dir.path().join(n.to_string());
        let files: Vec<_> = files.into_iter().map(|(offset, size)| (offset.max(start), size)).collect();
        let piece = |(n, (offset, size)): (usize, &(u64, u64))| Piece { path: path(n), mode: 0o644, modified_ns: 0, offset: *offset, size: *size };
        let mut filler = Filler::new(files.iter().enumerate().map(piece).collect(), start);
        let mut rest = &blob[usize::try_from(start).unwrap()..];
        for cut in cuts.into_iter().cycle() {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            filler.fill(now).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(filler.is_done());
        for (n, (offset, size)) in files.iter().enumerate() {
            let range = usize::try_from(*offset).unwrap()..usize::try_from(offset + size).unwrap();
            prop_assert_eq!(&fs::read(path(n)).unwrap()[..], &blob[range]);
        }
    }
}

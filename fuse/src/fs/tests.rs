use std::collections::BTreeMap;

use fuser::Errno;
use herring_blob::ObjectRef;

use super::*;
use crate::place::{LOCAL_NAME, NAMES, ORIGINS};
use fuser::FileType;
use rig::{CAPACITY, CHUNK, NOBODY, ORIGIN, REFUSING, Rig, pattern};

#[path = "../../tests/mount/plant.rs"]
mod plant;
#[path = "../../tests/mount/rig.rs"]
mod rig;

mod names;

/// One that believes nothing of its origin for any time.
fn forgetful() -> Rig {
    Rig::new(CAPACITY, NOBODY.into(), "?ttl=0")
}

fn rig() -> (Rig, HerringFs) {
    let rig = forgetful();
    let (fs, _) = HerringFs::new(rig.swarm.clone());
    (rig, fs)
}

async fn walk(fs: &HerringFs, path: &str) -> Result<Entry, Errno> {
    let (mut ino, mut found) = (ROOT, None);
    for name in path.split('/') {
        let entry = fs.lookup(ino, name.as_ref(), 0).await.map_err(|error| error.errno())?;
        ino = entry.attr.ino.0;
        found = Some(entry);
    }
    Ok(found.unwrap())
}

/// All of a directory, as a reader gets it part by part: by name, the offset of what follows and what it is.
async fn items(fs: &HerringFs, ino: u64) -> Vec<(String, u64, Found)> {
    let (handle, mut items) = (fs.open_directory(), Vec::new());
    let mut offset = 0;
    loop {
        let part = fs.listing(ino, handle, offset).await.unwrap();
        let before = items.len();
        items.extend(part.items().map(|(next, name, found)| (name.to_owned(), next, found)));
        let Some((_, next, _)) = items[before..].last() else { break };
        offset = *next;
    }
    fs.close_directory(handle);
    items
}

async fn names(fs: &HerringFs, ino: u64) -> Vec<String> {
    items(fs, ino).await.into_iter().map(|(name, ..)| name).collect()
}

/// All that a reader with a buffer of `len` gets.
async fn read_all(fs: &HerringFs, ino: u64, len: u32) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let bytes = fs.read(ino, whole.len() as u64, len).await.unwrap();
        if bytes.is_empty() {
            return whole;
        }
        whole.extend_from_slice(&bytes);
    }
}

#[tokio::test]
async fn the_tree_has_its_fixed_directories() {
    let (_rig, fs) = rig();
    assert_eq!(names(&fs, ROOT).await, [".", "..", "blobs", "names", "origins"]);
    assert_eq!(names(&fs, ORIGINS).await, [".", "..", ORIGIN, REFUSING]);
    assert_eq!(names(&fs, BLOBS).await, [".", ".."]);
    let (attr, _) = fs.getattr(BLOBS).unwrap();
    assert_eq!((attr.kind, attr.perm, attr.nlink, attr.size), (FileType::Directory, 0o555, 2, 0));
}

#[tokio::test]
async fn blobs_of_all_sizes_are_read_whole() {
    let (rig, fs) = rig();
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17] {
        let bytes = pattern(size as usize, 1);
        let id = rig.put(&bytes).await;
        let attr = walk(&fs, &format!("blobs/{id}")).await.unwrap().attr;
        assert_eq!((attr.kind, attr.perm, attr.nlink), (FileType::RegularFile, 0o444, 1));
        assert_eq!((attr.size, attr.blocks), (size.into(), u64::from(size).div_ceil(512)));
        assert!(read_all(&fs, attr.ino.0, 3 * CHUNK + 5).await == bytes, "{size} bytes in large reads");
        assert!(read_all(&fs, attr.ino.0, 4099).await == bytes, "{size} bytes in small reads");
        assert_eq!(fs.read(attr.ino.0, u64::MAX, u32::MAX).await.unwrap(), "");
    }
}

#[tokio::test]
async fn what_was_read_is_there_without_waiting() {
    let (rig, fs) = rig();
    let bytes = pattern(CHUNK as usize * 2, 2);
    let id = rig.put(&bytes).await;
    let ino = walk(&fs, &format!("blobs/{id}")).await.unwrap().attr.ino.0;
    fs.read(ino, 0, 2 * CHUNK).await.unwrap();
    let mut buffer = [0; 100];
    assert_eq!(fs.read_now(ino, 10, &mut buffer).unwrap(), &bytes[10..110]);
    assert_eq!(fs.read_now(ino, u64::from(2 * CHUNK) - 3, &mut buffer).unwrap(), &bytes[bytes.len() - 3..]);
    assert_eq!(fs.read_now(ino, u64::MAX, &mut buffer).unwrap(), b"");
    assert_eq!(fs.read_local(ino, 10, &mut buffer).unwrap(), &bytes[10..110]);
    assert_eq!(fs.read_local(ino, u64::from(2 * CHUNK), &mut buffer).unwrap(), b"");
}

#[tokio::test]
async fn a_blob_has_one_name_only() {
    let (rig, fs) = rig();
    let id = rig.put(b"herring").await.to_string();
    assert!(walk(&fs, &format!("blobs/{id}")).await.is_ok());
    let upper = id.to_uppercase();
    assert_ne!(id, upper);
    for name in [upper, format!("sha256:{id}"), id[1..].to_owned(), "é".repeat(64), BlobId::of(b"absent").to_string()] {
        assert_eq!(walk(&fs, &format!("blobs/{name}")).await.unwrap_err(), Errno::ENOENT, "{name}");
    }
}

#[tokio::test]
async fn hostile_names_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let (rig, fs) = rig();
    rig.write("a/b", b"b");
    let root = walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0;
    let refused = async |parent, name: &[u8]| fs.lookup(parent, OsStr::from_bytes(name), 0).await.unwrap_err().errno();
    for parent in [ROOT, BLOBS, ORIGINS, root] {
        assert_eq!(refused(parent, &[b'n'; 256]).await, Errno::ENAMETOOLONG);
        for name in [&b"\xff\xfe"[..], b"a\nb", b"", b".", b"..", b"a/../../etc", b"/etc"] {
            assert_eq!(refused(parent, name).await, Errno::ENOENT, "{name:?} in {parent}");
        }
    }
    assert_eq!(refused(12345, b"a").await, Errno::ESTALE);
    let file = walk(&fs, &format!("origins/{ORIGIN}/a/b")).await.unwrap().attr.ino.0;
    assert_eq!(refused(file, b"a").await, Errno::ENOTDIR);
    assert_eq!(fs.read(root, 0, 1).await.unwrap_err().errno(), Errno::EISDIR);
    assert_eq!(fs.listing(file, 1, 0).await.err().unwrap().errno(), Errno::ENOTDIR);
}

#[tokio::test]
async fn an_origin_is_a_tree() {
    let (rig, fs) = rig();
    let bytes = pattern(CHUNK as usize + 1, 3);
    rig.write("deep/er/file", &bytes);
    rig.write("top", b"");
    let root = walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0;
    assert_eq!(names(&fs, root).await, [".", "..", "deep", "top"]);
    let entry = walk(&fs, &format!("origins/{ORIGIN}/deep/er/file")).await.unwrap();
    assert_eq!(entry.attr.size, bytes.len() as u64);
    assert_eq!(entry.attr.mtime, std::fs::metadata(rig.origin.join("deep/er/file")).unwrap().modified().unwrap());
    assert!(read_all(&fs, entry.attr.ino.0, 1 << 20).await == bytes);
    assert_eq!(walk(&fs, &format!("origins/{ORIGIN}/deep/absent")).await.unwrap_err(), Errno::ENOENT);
    assert_eq!(walk(&fs, "origins/absent").await.unwrap_err(), Errno::ENOENT);
}

#[tokio::test]
async fn every_name_is_believed_for_ever() {
    let (rig, fs) = rig();
    rig.write("d/f", b"f");
    let id = rig.put(b"b").await;
    let ttl = async |path: String| walk(&fs, &path).await.unwrap().name_ttl;
    assert_eq!(ttl(format!("blobs/{id}")).await, FOR_EVER);
    assert_eq!(ttl(format!("origins/{ORIGIN}")).await, FOR_EVER);
    assert_eq!(ttl(format!("origins/{ORIGIN}/d")).await, FOR_EVER);
    assert_eq!(ttl(format!("origins/{ORIGIN}/d/f")).await, FOR_EVER);
}

/// What `readdirplus` tells of a directory: by name, size and inode.
async fn entered(fs: &HerringFs, ino: u64) -> BTreeMap<String, FileAttr> {
    let (handle, mut all) = (fs.open_directory(), BTreeMap::new());
    let mut offset = 0;
    loop {
        let part = fs.listing(ino, handle, offset).await.unwrap();
        let before = all.len();
        fs.enter_all(ino, &part, |next, name, entry| {
            all.insert(name.to_owned(), entry.attr);
            offset = next;
            false
        });
        if all.len() == before {
            return all;
        }
    }
}

#[tokio::test]
async fn what_is_listed_can_be_read_and_is_what_a_lookup_finds() {
    let (rig, fs) = rig();
    let bytes = pattern(300, 4);
    rig.write("one", &bytes);
    rig.write("dir/two", b"two");
    let id = rig.put(&bytes).await;
    let root = walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0;
    let (origin, blobs) = (entered(&fs, root).await, entered(&fs, BLOBS).await);
    for attr in [&origin["one"], &blobs[&id.to_string()]] {
        assert_eq!(attr.size, 300);
        assert_eq!(fs.read(attr.ino.0, 0, 300).await.unwrap(), bytes);
    }
    assert_eq!(walk(&fs, &format!("origins/{ORIGIN}/one")).await.unwrap().attr, origin["one"]);
    assert_eq!(walk(&fs, &format!("origins/{ORIGIN}/dir")).await.unwrap().attr, origin["dir"]);
    assert_eq!(walk(&fs, &format!("blobs/{id}")).await.unwrap().attr, blobs[&id.to_string()]);
}

#[tokio::test]
async fn an_entry_without_room_is_not_counted() {
    let (rig, fs) = rig();
    for key in ["a", "b", "c"] {
        rig.write(key, b"x");
    }
    let root = walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0;
    let part = fs.listing(root, fs.open_directory(), 2).await.unwrap();
    let mut seen = Vec::new();
    fs.enter_all(root, &part, |next, name, entry| {
        seen.push((next, name.to_owned(), entry.attr.ino.0));
        name == "b"
    });
    let [(3, a, taken), (4, b, refused)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((a.as_str(), b.as_str()), ("a", "b"));
    assert!(fs.getattr(*taken).is_ok());
    assert_eq!(fs.getattr(*refused).unwrap_err().errno(), Errno::ESTALE);
}

#[tokio::test]
async fn a_listing_stays_as_it_was_until_it_begins_again() {
    let (rig, fs) = rig();
    rig.write("a", b"x");
    let root = walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0;
    let handle = fs.open_directory();
    let count = async |offset| fs.listing(root, handle, offset).await.unwrap().items().count();
    assert_eq!(count(0).await, 3);
    rig.write("b", b"x");
    assert_eq!(count(1).await, 2);
    assert_eq!(count(0).await, 4);
}

#[tokio::test]
async fn a_deleted_blob_is_gone() {
    let (rig, fs) = rig();
    let id = rig.put(b"short-lived").await;
    let listed = entered(&fs, BLOBS).await[&id.to_string()].ino.0;
    rig.swarm.remove(id).await.unwrap();
    assert_eq!(walk(&fs, &format!("blobs/{id}")).await.unwrap_err(), Errno::ENOENT);
    assert_eq!(names(&fs, BLOBS).await, [".", ".."]);
    assert_eq!(fs.read(listed, 0, 1).await.unwrap_err().errno(), Errno::ESTALE);
    assert_eq!(fs.known_blobs(), [id]);
}

#[tokio::test]
async fn what_was_listed_before_a_name_was_taken_back_is_not_believed_for_long() {
    let (rig, fs) = rig();
    rig.put(b"listed").await;
    let handle = fs.open_directory();
    fs.listing(BLOBS, handle, 0).await.unwrap();
    let part = fs.listing(BLOBS, handle, 2).await.unwrap();
    let ttl = || {
        let mut ttl = None;
        fs.enter_all(BLOBS, &part, |_, _, entry| ttl.replace(entry.name_ttl).is_some());
        ttl.unwrap()
    };
    assert_eq!(ttl(), FOR_EVER);
    fs.taking_back();
    assert_eq!(ttl(), Duration::ZERO);
}

#[tokio::test]
async fn a_new_version_is_a_new_inode_and_the_old_one_never_shows_it() {
    let (rig, fs) = rig();
    let path = format!("origins/{ORIGIN}/f");
    rig.write("f", b"old");
    let old = entered(&fs, walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0).await["f"].ino.0;
    rig.write("f", b"newer");
    let new = walk(&fs, &path).await.unwrap().attr;
    assert_ne!(new.ino.0, old);
    assert_eq!(fs.read(new.ino.0, 0, 10).await.unwrap(), "newer");
    assert_eq!(fs.read(old, 0, 10).await.unwrap_err().errno(), Errno::ESTALE);
}

#[tokio::test]
async fn a_listing_newer_than_what_is_remembered_is_no_stale_file() {
    let (rig, fs) = rig();
    rig.write("f", b"old");
    let root = walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0;
    let old = walk(&fs, &format!("origins/{ORIGIN}/f")).await.unwrap().attr.ino.0;
    assert_eq!(fs.read(old, 0, 10).await.unwrap(), "old");
    rig.write("f", b"newer");
    let new = entered(&fs, root).await["f"].ino.0;
    assert_eq!(fs.read(new, 0, 10).await.unwrap(), "newer");
}

#[tokio::test]
async fn without_a_version_the_time_tells_versions_apart() {
    let (rig, _) = rig();
    rig.write("f", b"abc");
    let content = rig.swarm.open_object(ORIGIN, "f").await.unwrap();
    let node = |size, modified| Node::new(Place::listed(ORIGIN.into(), "f".into(), None, size, modified), size, modified);
    let (modified, later) = (content.modified(), content.modified() + Duration::from_secs(1));
    assert!(node(3, modified).is(&content));
    assert!(!node(4, modified).is(&content));
    assert!(!node(3, later).is(&content));
    assert_ne!(node(3, modified).ino, node(3, later).ino);
    let other = ObjectRef { origin: ORIGIN.into(), key: "f".into(), version: "other".into(), size: 3 };
    assert!(!Node::new(Place::Object(other), 3, modified).is(&content));
}

/// The names that the kernel is to believe no more, in all directories of the origin.
async fn stale(fs: &HerringFs) -> Vec<String> {
    let mut names = Vec::new();
    for directory in fs.known_directories(ORIGIN) {
        names.extend(fs.stale(&directory).await.iter().map(|node| node.place.name()));
    }
    names.sort_unstable();
    names
}

#[tokio::test]
async fn what_an_origin_changed_is_stale_and_the_rest_is_not() {
    let (rig, fs) = rig();
    for key in ["same", "changed", "gone", "d/same", "d/changed", "e/gone"] {
        rig.write(key, b"old");
        walk(&fs, &format!("origins/{ORIGIN}/{key}")).await.unwrap();
    }
    assert_eq!(stale(&fs).await, [""; 0]);
    rig.write("changed", b"newer");
    rig.write("d/changed", b"newer");
    rig.write("new", b"new");
    std::fs::remove_file(rig.origin.join("gone")).unwrap();
    std::fs::remove_dir_all(rig.origin.join("e")).unwrap();
    assert_eq!(stale(&fs).await, ["changed", "changed", "e", "gone", "gone"]);
}

#[tokio::test]
async fn a_few_names_in_a_directory_of_many_pages_are_checked() {
    let (rig, fs) = rig();
    for n in 0..11_500 {
        rig.write(&format!("many/{n:05}"), b"");
    }
    // The first is on the first page, the others are on pages that nobody goes to for them.
    for key in ["00001", "11400", "11401", "11402"] {
        walk(&fs, &format!("origins/{ORIGIN}/many/{key}")).await.unwrap();
    }
    assert_eq!(stale(&fs).await, [""; 0]);
    rig.write("many/00001", b"changed");
    rig.write("many/11401", b"changed");
    std::fs::remove_file(rig.origin.join("many/11402")).unwrap();
    assert_eq!(stale(&fs).await, ["00001", "11401", "11402"]);
}

#[tokio::test]
async fn what_was_only_listed_is_checked_too() {
    let (rig, fs) = rig();
    rig.write("f", b"old");
    let root = walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0;
    entered(&fs, root).await;
    assert_eq!(stale(&fs).await, [""; 0]);
    rig.write("f", b"newer");
    assert_eq!(stale(&fs).await, ["f"]);
}

#[tokio::test]
async fn a_name_that_was_taken_back_is_not_checked_again_though_its_file_may_be_open() {
    let (rig, fs) = rig();
    rig.write("f", b"old");
    let ino = walk(&fs, &format!("origins/{ORIGIN}/f")).await.unwrap().attr.ino.0;
    let root = walk(&fs, &format!("origins/{ORIGIN}")).await.unwrap().attr.ino.0;
    rig.write("f", b"newer");
    assert_eq!(fs.unname(&fs.node(ino).unwrap()), Some(root));
    assert_eq!(stale(&fs).await, [""; 0]);
    let new = walk(&fs, &format!("origins/{ORIGIN}/f")).await.unwrap();
    assert_eq!((new.attr.size, new.name_ttl), (5, FOR_EVER));
    assert_eq!(stale(&fs).await, [""; 0]);
}

#[tokio::test]
async fn an_origin_that_does_not_answer_changes_nothing() {
    let (rig, fs) = rig();
    let root = walk(&fs, &format!("origins/{REFUSING}")).await.unwrap().attr.ino.0;
    let object = ObjectRef { origin: REFUSING.into(), key: "f".into(), version: "1".into(), size: 1 };
    fs.enter(root, Found::Node(Node::new(Place::Object(object), 1, SystemTime::UNIX_EPOCH)), Some(0));
    let [directory] = &fs.known_directories(REFUSING)[..] else { panic!("it is known") };
    assert_eq!(fs.stale(directory).await.len(), 0);
    drop(rig);
}

#[tokio::test]
async fn a_reader_who_meets_a_change_makes_the_name_be_taken_back() {
    let rig = forgetful();
    let (fs, mut changes) = HerringFs::new(rig.swarm.clone());
    rig.write("f", &pattern(CHUNK as usize, 5));
    let ino = walk(&fs, &format!("origins/{ORIGIN}/f")).await.unwrap().attr.ino.0;
    rig.write("f", b"other");
    assert_eq!(fs.read(ino, 0, 1).await.unwrap_err().errno(), Errno::ESTALE);
    assert_eq!(changes.recv().await, Some(ino));
}

#[tokio::test]
async fn natively_read_blobs_are_links_to_files_of_the_store() {
    let (rig, fs) = rig();
    let bytes = pattern(CHUNK as usize + 1, 6);
    let id = rig.put(&bytes).await;
    let file = walk(&fs, &format!("blobs/{id}")).await.unwrap().attr;
    fs.set_native();
    let link = walk(&fs, &format!("blobs/{id}")).await.unwrap();
    assert_eq!((link.attr.kind, link.name_ttl), (FileType::Symlink, FOR_EVER));
    assert_ne!(link.attr.ino, file.ino);
    let target = fs.readlink(link.attr.ino.0).unwrap();
    assert_eq!(target.as_os_str().len() as u64, link.attr.size);
    let path = target.strip_prefix(format!("../{LOCAL_NAME}")).unwrap();
    assert!(std::fs::read(rig.swarm.native_dir().join(path)).unwrap() == bytes);
    assert_eq!(entered(&fs, BLOBS).await[&id.to_string()], link.attr);
    assert!(read_all(&fs, file.ino.0, CHUNK).await == bytes, "who had it open before goes on");
    assert_eq!(fs.readlink(file.ino.0).unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(names(&fs, ROOT).await, [".", "..", "blobs", "names", "origins"]);
    assert_eq!(walk(&fs, LOCAL_NAME).await.unwrap().attr.kind, FileType::Directory);
}

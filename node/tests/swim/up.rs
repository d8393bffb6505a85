use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use herring_blob::BlobId;
use herring_http_api::client::ApiClient;
use rustix::process::{Pid, Signal, kill_process};

use crate::swarm::{DEADLINE, HERRING, detach, free_base, have_fuse, is_mounted, noise, request, stream, wait_until};

const NODES: u32 = 3;

/// `herring up`, and its nodes with it.
pub struct Up {
    dir: PathBuf,
    child: Child,
}

impl Up {
    fn start(dir: &Path, port: u16) -> Self {
        Self::of(dir, &mut command(dir, port))
    }

    pub fn of(dir: &Path, command: &mut Command) -> Self {
        Self { dir: dir.to_owned(), child: command.stdout(Stdio::null()).spawn().unwrap() }
    }

    fn home(&self, n: u32) -> PathBuf {
        self.dir.join(format!("n{n}"))
    }

    fn mounts(&self) -> impl Iterator<Item = PathBuf> {
        (1..=NODES).map(|n| self.home(n).join("mnt"))
    }

    fn logs(&self) -> Vec<Vec<u8>> {
        (1..=NODES).map(|n| std::fs::read(self.home(n).join("herring.log")).unwrap()).collect()
    }

    /// Its exit code, after SIGTERM.
    pub fn end(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut status = None;
        wait_until("`herring up` to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Its nodes see their stdin end. Both fail where all went well before.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.mounts().for_each(|mount| detach(&mount));
    }
}

pub fn command(dir: &Path, port: u16) -> Command {
    let mut command = Command::new(HERRING);
    command.args(["up", "--port", &port.to_string(), "--nodes", &NODES.to_string(), "--dir"]).arg(dir).stdin(Stdio::null());
    command
}

pub async fn ready_members(api: &ApiClient) -> usize {
    let (Ok(_), Ok(cluster)) = (api.ready().await, api.cluster().await) else { return 0 };
    cluster.members.iter().filter(|member| member.state == "ready").count()
}

#[test]
fn a_second_one_in_the_same_directory_is_refused_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_base();
    let mut first = Up::start(dir.path(), port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let block = |work| runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("the test's own deadline") });
    for n in 0..3 {
        let api = ApiClient::new(&format!("http://127.0.0.1:{}", port + 10 * n)).unwrap();
        wait_until("all nodes to see each other", || runtime.block_on(ready_members(&api)) == NODES as usize);
    }
    let api = ApiClient::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let (stored, _) = block(api.put(None, Some(5), stream(Bytes::from_static(b"shoal")))).unwrap();
    let before = first.logs();

    let second = command(dir.path(), free_base()).output().unwrap();
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(dir.path().to_str().unwrap()), "{stderr}");
    assert!(stderr.lines().filter(|line| line.contains("in use")).count() == 1, "{stderr}");

    assert!(first.logs().iter().zip(&before).all(|(now, before)| now.starts_with(before)), "logs are not truncated");
    wait_until("all to be ready as before", || runtime.block_on(ready_members(&api)) == NODES as usize);
    if have_fuse() {
        for mount in first.mounts() {
            assert!(is_mounted(&mount), "{}", mount.display());
            assert_eq!(std::fs::read(mount.join("blobs").join(stored.id.to_string())).unwrap(), b"shoal");
        }
    }
    assert_eq!(first.end(), Some(0));
    assert!(!first.mounts().any(|mount| is_mounted(&mount)));
}

#[test]
fn the_check_puts_real_files_in_and_reads_them_back_everywhere() {
    check(&[]);
}

#[test]
fn the_check_is_passed_over_tls_too() {
    check(&["--secure"]);
}

fn check(flags: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.bin");
    std::fs::write(&file, noise(9 << 20, 5)).unwrap();
    let port = free_base().to_string();
    let output = Command::new(HERRING)
        .args(["up", "--check", "--json", "--port", &port])
        .args(flags)
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains(&BlobId::of(&std::fs::read(&file).unwrap()).to_string()), "{report}\n{stderr}");
}

/// What it prints it prints once each node has all of them in its ring.
#[test]
fn who_reads_that_they_are_up_can_put_to_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_base();
    let child = command(dir.path(), port).arg("--no-mount").stdout(Stdio::piped()).spawn().unwrap();
    let mut up = Up { dir: dir.path().to_owned(), child };
    let mut said = [0; 4];
    up.child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"NODE");
    for n in (0..3).rev() {
        let node = ([127, 0, 0, 1], port + 10 * n).into();
        let mut last = (0, String::new());
        wait_until("all to take it", || {
            last = request(node, "POST /v1/blobs?replicas=3&ack=3 HTTP/1.1", &n.to_le_bytes());
            // One that has no processor for a second cannot take its replica.
            last.0 != 503
        });
        let (status, answer) = last;
        assert_eq!(status, 201, "{answer}");
        assert!(answer.contains(r#""replicas":3,"wanted":3"#), "{answer}");
    }
    assert_eq!(up.end(), Some(0));
}

/// What it says to try next, and nothing in clear. What was made is the same the next time.
#[test]
fn a_secure_one_is_spoken_to_as_it_says() {
    let room = tempfile::tempdir().unwrap();
    let (dir, file) = (room.path().join("the swarm"), room.path().join("file"));
    std::fs::write(&file, noise(1 << 20, 6)).unwrap();
    let made = || ["ca.pem", "cluster.key", "n3.pem"].map(|name| std::fs::read(dir.join("certs").join(name)).unwrap());
    let mut before = None;
    for _ in 0..2 {
        let port = free_base();
        let mut command = command(&dir, port);
        let child = command.args(["--no-mount", "--secure"]).arg(&file).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = Up { dir: dir.clone(), child };
        let said = std::io::BufReader::new(up.child.stdout.as_mut().unwrap());
        let said: Vec<String> = said.lines().map(Result::unwrap).take_while(|line| !line.starts_with("Ctrl-C")).collect();
        let line = |word: &str| said.iter().find(|line| line.trim().starts_with(word)).unwrap_or_else(|| panic!("{said:?}"));
        let path = format!("PATH={}:$PATH", Path::new(HERRING).parent().unwrap().display());
        let script = format!("set -e; {path}; {}\n{}\n{}", line("export"), line("herring status"), line("herring explain"));
        let tried = Command::new("sh").args(["-c", &script]).env_clear().output().unwrap();
        assert!(tried.status.success(), "{script}\n{tried:?}");
        let summed = Command::new("sh").args(["-c", line("sed")]).output().unwrap();
        assert!(summed.stdout.starts_with(BlobId::of(&noise(1 << 20, 6)).to_string().as_bytes()), "{summed:?}");
        assert_eq!(request(([127, 0, 0, 1], port).into(), "GET /v1/cluster HTTP/1.1", b"").0, 400);
        assert_eq!(up.end(), Some(0));
        assert_eq!(*before.get_or_insert_with(made), made());
    }
}

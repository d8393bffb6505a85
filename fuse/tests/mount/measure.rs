use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use crate::mounted::Mounted;
use crate::rig::pattern;

fn time(what: &str, command: &mut Command) {
    let begin = Instant::now();
    let status = command.stdout(Stdio::null()).status().unwrap();
    println!("{what:40} {:8.1} ms {status}", begin.elapsed().as_secs_f64() * 1e3);
}

#[test]
#[ignore = "measures"]
fn measure() {
    let mounted = Mounted::new().unwrap();
    let (shm, ext4) = (tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir_in("/tmp").unwrap());
    let source = shm.path().join("s");
    for n in 0..20_000usize {
        let dir = source.join(format!("d{:03}/e{}", n % 200, n % 7));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("file-{n:05}.py")), pattern(500 + n % 8000, n as u64)).unwrap();
    }
    Command::new("cp").arg("-a").arg(&source).arg(ext4.path().join("s")).status().unwrap();
    Command::new("cp").arg("-a").arg(&source).arg(shm.path().join("t")).status().unwrap();
    Command::new("sync").status().unwrap();
    let begin = Instant::now();
    mounted.plant(&source, "m");
    println!("planted in {:?}", begin.elapsed());
    let at = mounted.at.join("names/m");
    let (tmpfs, ext4) = (shm.path().join("t"), ext4.path().join("s"));
    let all: [(&str, &Path); 3] = [("mount", &at), ("tmpfs", &tmpfs), ("ext4", &ext4)];
    for round in 0..3 {
        for (name, path) in all {
            time(&format!("{round} {name} find"), Command::new("find").arg(path));
            time(&format!("{round} {name} find -size"), Command::new("find").arg(path).args(["-size", "+1000k"]));
            time(&format!("{round} {name} ls -lR"), Command::new("ls").arg("-lR").arg(path));
            time(&format!("{round} {name} diff -r"), Command::new("diff").arg("-r").arg(path).arg(&source));
        }
        if round == 2 { for path in [&at, &tmpfs] {
            let out = Command::new("strace").args(["-c", "-w", "diff", "-r"]).arg(path).arg(&source).output().unwrap();
            println!("{}", String::from_utf8_lossy(&out.stderr).lines().take(14).collect::<Vec<_>>().join("\n"));
        } }
        let status = fs::read_to_string("/proc/self/status").unwrap();
        println!("{}", status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("RssAnon")).collect::<Vec<_>>().join(" "));
    }
}

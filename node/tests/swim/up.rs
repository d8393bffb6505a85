use std::process::{Command, Stdio};

use herring_blob::BlobId;

use crate::swarm::{HERRING, free_base, noise};

#[test]
fn the_check_puts_real_files_in_and_reads_them_back_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.bin");
    std::fs::write(&file, noise(9 << 20, 5)).unwrap();
    let port = free_base().to_string();
    let output = Command::new(HERRING)
        .args(["up", "--check", "--json", "--port", &port])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains(&BlobId::of(&std::fs::read(&file).unwrap()).to_string()), "{report}\n{stderr}");
}

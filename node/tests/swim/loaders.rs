//! What reads models in practice, over a blob that this node has none of: safetensors and numpy, which map the file.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::swarm::{Plan, Swarm, have, have_fuse};

/// Writes a model of several tensors to the path given, 24 MiB and some bytes.
const WRITE: &str = "
import sys, numpy as np
from safetensors.numpy import save_file
rng = np.random.default_rng(7)
save_file({f'layer.{n}': rng.standard_normal((n + 1, 1 << 18), dtype=np.float32) for n in range(6)} | {'odd': rng.integers(0, 255, 12345, dtype=np.uint8)}, sys.argv[1])
";

/// Loads the model at the first path through each loader, and compares it with the one at the second.
const COMPARE: &str = "
import sys, threading, numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file
there, here = sys.argv[1:]
want = load_file(here)
failures = []
def check(name):
    with safe_open(there, framework='np') as model:
        got = model.get_tensor(name)
        part = model.get_slice(name)[: max(1, len(got) // 2)]
    if not (np.array_equal(got, want[name]) and np.array_equal(part, want[name][: len(part)])):
        failures.append(name)
threads = [threading.Thread(target=check, args=[name]) for name in reversed(want)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
if not np.array_equal(np.memmap(there, dtype=np.uint8, mode='r'), np.fromfile(here, dtype=np.uint8)):
    failures.append('numpy.memmap')
sys.exit(', '.join(failures) or 0)
";

fn have_loaders() -> bool {
    have("loaders", python("import numpy, safetensors", &[]))
}

fn python(script: &str, paths: &[&Path]) -> bool {
    Command::new("python3").args(["-c", script]).args(paths).stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn models_are_loaded_right_through_a_mount_that_has_none_of_them() {
    if !have_fuse() || !have_loaders() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.safetensors");
    assert!(python(WRITE, &[&model]));
    let swarm = Swarm::start(Plan { mounts: true, replicas: 1, ..Plan::default() });
    let id = swarm.put(0, &std::fs::read(&model).unwrap());
    for node in &swarm.nodes {
        assert!(python(COMPARE, &[&node.blob(id), &model]), "through {}", node.dir.display());
    }
}

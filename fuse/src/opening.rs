//! Whether who looks a name up is about to open it.
//!
//! The kernel does not say what a lookup is for, but which call its thread is in can be read: some 10 us, where the answer saves the reader of a cold object a
//! round trip to its origin. Where `/proc` does not tell (another user's process, another pid namespace), nobody is taken to open anything.

use std::fs;
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::time::sleep;

/// The numbers of `open`, of `openat`, and of the other calls that open what they find.
#[cfg(target_arch = "x86_64")]
const CALLS: (u64, u64, [u64; 3]) = (2, 257, [437, 59, 322]);
/// `open` is none here.
#[cfg(not(target_arch = "x86_64"))]
const CALLS: (u64, u64, [u64; 3]) = (u64::MAX, 56, [437, 221, 281]);

/// A thread that has only just asked may still be on its way to sleep, on a busy machine for milliseconds: then it is looked at again.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(1);

/// Whether the thread `tid` waits for the lookup in order to read: not `stat`, `access` or `opendir`.
pub(crate) async fn is_opening(tid: u32) -> bool {
    for _ in 0..LOOKS {
        match fs::read_to_string(format!("/proc/{tid}/syscall")) {
            Ok(call) if call.starts_with("running") => sleep(PAUSE).await,
            call => return call.is_ok_and(|call| opens(&call)),
        }
    }
    false
}

/// The call's number and its arguments.
fn opens(call: &str) -> bool {
    let mut words = call.split_ascii_whitespace();
    let Some(number) = words.next().and_then(|number| number.parse().ok()) else { return false };
    let (open, openat, others) = CALLS;
    let flags = match number {
        _ if number == open => words.nth(1),
        _ if number == openat => words.nth(2),
        _ => return others.contains(&number),
    };
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok());
    flags.is_some_and(|flags| !OFlags::from_bits_retain(flags).intersects(OFlags::PATH | OFlags::DIRECTORY))
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn calls_that_open_are_told_from_those_that_look() {
        for (call, is) in [
            ("257 0xffffff9c 0x7f 0x0 0x0 0x0 0x0 0x7ffe 0x7f1f", true),
            ("257 0xffffff9c 0x7f 0x80000 0x0 0x0 0x0 0x7ffe 0x7f1f", true),
            ("257 0xffffff9c 0x7f 0x90800 0x0 0x0 0x0 0x7ffe 0x7f1f", false),
            ("257 0xffffff9c 0x7f 0x200000 0x0 0x0 0x0 0x7ffe 0x7f1f", false),
            ("2 0x7f 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f1f", true),
            ("59 0x7f 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f1f", true),
            ("262 0xffffff9c 0x7f 0x0 0x0 0x0 0x0 0x7ffe 0x7f1f", false),
            ("running", false),
            ("-1 0x7ffe 0x7f1f", false),
            ("", false),
        ] {
            assert_eq!(opens(call), is, "{call}");
        }
    }
}

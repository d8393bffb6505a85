//! What it costs to know a token, by how many there are: docs/adr/0027-tokens.md has the figures. `cargo bench -p herring-http-api --bench tokens`

use std::hint::black_box;
use std::time::{Instant, SystemTime};

use herring_http_api::access::{Digest, Grant, Scope, Tokens};

const ROUNDS: u32 = 1_000_000;

fn main() {
    let token = |n: usize| format!("herring_{n:064x}");
    let grant = |n: usize| Grant::new(&n.to_string(), Digest::of(&token(n)), Scope::Read, Vec::new(), None);
    for count in [1, 100] {
        let tokens = Tokens::new((0..count).map(|n| grant(n).expect("a number is a name")));
        let (shown, start) = (token(count / 2), Instant::now());
        for _ in 0..ROUNDS {
            let found = tokens.find(black_box(&shown), SystemTime::now());
            assert!(black_box(found).is_ok());
        }
        println!("{count} tokens: {} ns", (start.elapsed() / ROUNDS).as_nanos());
    }
}

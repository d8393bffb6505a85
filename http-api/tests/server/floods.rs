//! Connections that are there to keep others out, or to make this node work or remember for nothing. Asserted is how it ends, and that somebody else is served.

use std::time::Duration;

use herring_http_api::server::{Limits, ServerConfig};
use tokio::io::AsyncWriteExt;

use crate::fake::Fake;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, asks, frame, get, reset,
};
use crate::sockets::{Running, read_to_end, read_until};

const ENHANCE_YOUR_CALM: u32 = 11;

/// Streams of a client, by its numbers.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

async fn assert_serves(server: &Running) {
    let honest = server.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let text = read_to_end(honest).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

/// Nobody's patience runs out here: the limit of time for a head is half a minute.
#[tokio::test]
async fn who_only_connects_keeps_nobody_out() {
    let server = Running::with(&Fake::default(), ServerConfig { max_connections: 3, ..ServerConfig::default() }).await;
    let mut busy =
        server.raw(b"POST /v1/blobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n").await;
    read_until(&mut busy, "100 Continue\r\n\r\n").await;
    let headers_only =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 0, 1, &[0x82])];
    let mut flood = Vec::new();
    for said in [
        b"".as_slice(),
        b"G",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        &headers_only[..2].concat(),
        &headers_only.concat(),
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        for _ in 0..5 {
            flood.push(server.raw(said).await);
        }
        assert_serves(&server).await;
    }
    busy.write_all(b"bytes").await.unwrap();
    assert!(read_until(&mut busy, "\r\n\r\n").await.starts_with("HTTP/1.1 201 "), "who was at work was left alone");
    drop(flood);
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection() {
    let fake = Fake::default();
    let server = Running::of(&fake).await;
    let pairs = streams(100_000).map(|stream| [get(stream, "/v1/origins/hangs/key"), reset(stream)].concat());
    let pairs: Vec<u8> = pairs.flatten().collect();
    let words = Raw::connect(&server).await.flood(pairs.chunks(64 << 10).map(<[u8]>::to_vec)).await;
    assert!(words.is_empty() || words.contains(&ENHANCE_YOUR_CALM), "{words:?}");
    assert_serves(&server).await;
}

/// Each request has begun before it is taken back, so none is ever waiting.
#[tokio::test]
async fn nor_does_it_help_to_let_each_request_begin() {
    let fake = Fake::default();
    *fake.limits.lock().unwrap() = Limits { reads: 1, writes: 1 };
    let server = Running::of(&fake).await;
    let mut raw = Raw::connect(&server).await;
    let mut asked = 0;
    for stream in streams(3000) {
        let begun = raw.send(&get(stream, "/v1/origins/hangs/key")).await.is_ok() && raw.is_well().await;
        if !begun || raw.send(&reset(stream)).await.is_err() || !raw.is_well().await {
            break;
        }
        asked += 1;
    }
    assert!((1024..3000).contains(&asked), "{asked}");
    assert_serves(&server).await;
}

/// Many ways of saying what never comes to an end, or cannot be. Each is more than any buffer between the two holds.
#[tokio::test]
async fn what_is_no_http2_ends_its_connection() {
    let server = Running::of(&Fake::default()).await;
    let long = |name: u8| [&[0x00, 0x01, name, 0x7f, 0x81, 0x1e], [b'v'; 4000].as_slice()].concat();
    let open = frame(HEADERS, 0, 1, &asks(2, "/healthz"));
    let post = frame(HEADERS, END_HEADERS, 1, &asks(3, "/v1/origins/hangs/key"));
    let window = |stream, size: u32| frame(WINDOW_UPDATE, 0, stream, &size.to_be_bytes());
    let cases: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("empty continuations", open.clone(), frame(CONTINUATION, 0, 1, &[])),
        ("continuations of one field each", open.clone(), frame(CONTINUATION, 0, 1, &[0x00, 0x01, b'a', 0x01, b'b'])),
        ("continuations of large fields", open.clone(), frame(CONTINUATION, 0, 1, &long(b'a'))),
        // One entry of the table, 4,000 bytes, named by one byte 16,000 times in each.
        (
            "continuations of one large field",
            [open.clone(), frame(CONTINUATION, 0, 1, &[&[0x40], &long(b'a')[1..]].concat())].concat(),
            frame(CONTINUATION, 0, 1, &[0xbe; 16_000]),
        ),
        ("continuations of another stream", open, frame(CONTINUATION, 0, 3, &[])),
        ("windows without end", Vec::new(), window(0, 0x7fff_ffff)),
        ("windows of nothing", Vec::new(), window(0, 0)),
        ("empty pieces of a body", post, frame(DATA, 0, 1, &[])),
        ("a frame larger than any", Vec::new(), frame(DATA, 0, 1, &vec![7; (1 << 20) + 1])),
        ("settings that cannot be", Vec::new(), frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("pings of a stream", Vec::new(), frame(PING, 0, 1, b"12345678")),
        ("resets of what never was", Vec::new(), frame(RST_STREAM, 0, 7, &[0; 4])),
        ("streams backwards", [get(9, "/healthz"), get(7, "/healthz")].concat(), get(5, "/healthz")),
    ];
    for (what, before, again) in cases {
        let times = (64 << 20) / again.len().max(64);
        let again = again.repeat((64 << 10) / again.len() + 1);
        let parts = std::iter::once(before).chain(std::iter::repeat_n(again, times.min(1000)));
        let words = Raw::connect(&server).await.flood(parts).await;
        assert!(!words.contains(&0), "{what}: {words:?}");
        assert_serves(&server).await;
    }
}

/// What must be answered and whose answers nobody reads stays in the sender's own buffers: nothing more is read of it.
#[tokio::test]
async fn who_wants_answers_and_reads_none_is_cut_off() {
    let config = ServerConfig { unread: Duration::from_millis(200), ..ServerConfig::default() };
    let server = Running::with(&Fake::default(), config).await;
    for again in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[])] {
        let mut raw = Raw::connect(&server).await;
        let again = again.repeat(4096);
        // Its end: 64 MiB are more than the buffers of both kernels.
        let mut left = (64 << 20) / again.len();
        while left > 0 && raw.send(&again).await.is_ok() {
            left -= 1;
        }
        assert!(left > 0);
        assert_serves(&server).await;
    }
}

#[tokio::test]
async fn more_streams_than_are_allowed_are_refused_one_by_one() {
    let server = Running::with(&Fake::default(), ServerConfig { max_streams: 8, ..ServerConfig::default() }).await;
    let mut raw = Raw::connect(&server).await;
    assert!(raw.is_well().await);
    for stream in streams(12) {
        raw.send(&get(stream, "/v1/origins/hangs/key")).await.unwrap();
    }
    let mut refused = Vec::new();
    while refused.len() < 4 {
        let came = raw.next().await.expect("the connection goes on");
        if came.kind == RST_STREAM {
            refused.push((came.stream, came.payload));
        }
    }
    // REFUSED_STREAM.
    assert_eq!(refused, [17, 19, 21, 23].map(|stream| (stream, 7u32.to_be_bytes().to_vec())));
    raw.send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes())).await.unwrap();
    raw.send(&frame(HEADERS, END_STREAM | END_HEADERS, 25, &asks(2, "/healthz"))).await.unwrap();
    while raw.next().await.expect("the connection goes on").stream != 25 {}
}

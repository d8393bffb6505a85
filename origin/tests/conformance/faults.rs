use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use herring_blob::{ByteRange, ObjectRef};
use herring_origin::{Origin, OriginError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{bucket, cloud_bucket, container, site};

/// All that is asked over HTTP with what they have in common.
const KINDS: [fn(&str) -> Origin; 4] = [|url| bucket("models", url), |url| cloud_bucket("models", url), container, site];

/// Bytes of the one object there is.
const SIZE: usize = 200_000;

/// One answer, written out.
#[derive(Clone)]
struct Answer {
    head: String,
    /// Bytes of the body that are given: the object's own, from here to there.
    body: std::ops::Range<usize>,
    /// Whether the connection stays open behind them, with nothing more.
    silent: bool,
}

impl Answer {
    fn status(status: &str) -> Self {
        Self { head: format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n"), body: 0..0, silent: false }
    }

    /// This version from `start` on, as it should be.
    fn from(version: &str, start: usize) -> Self {
        let (length, last) = (SIZE - start, SIZE - 1);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"{version}\"\r\nContent-Length: {length}\r\n\
             Content-Range: bytes {start}-{last}/{SIZE}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        );
        Self { head, body: start..SIZE, silent: false }
    }

    fn with(mut self, header: &str) -> Self {
        self.head += &format!("{header}\r\n");
        self
    }

    /// Breaks off in the middle.
    fn until(mut self, end: usize) -> Self {
        self.body.end = end;
        self
    }

    /// Falls silent instead.
    fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    async fn give(self, socket: &mut TcpStream) -> std::io::Result<()> {
        socket.write_all(format!("{}Connection: close\r\n\r\n", self.head).as_bytes()).await?;
        socket.write_all(&object_bytes()[self.body]).await?;
        socket.flush().await?;
        if self.silent { std::future::pending().await } else { Ok(()) }
    }
}

fn object_bytes() -> Vec<u8> {
    (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Gives its answers in order, one a connection; then it breaks every connection. It ends with the test's runtime.
struct Faulty {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Faulty {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::default();
        tokio::spawn(answer_all(listener, Mutex::new(answers.into_iter().collect()).into(), Arc::clone(&asked)));
        Self { url, asked }
    }

    /// Values of a header in the requests, in order.
    fn asked(&self, header: &str) -> Vec<String> {
        let header = format!("\r\n{header}: ");
        let value = |head: &String| Some(head.split_once(&header)?.1.split_once("\r\n")?.0.to_owned());
        self.asked.lock().unwrap().iter().map(|head| value(head).unwrap_or_default()).collect()
    }
}

async fn answer_all(listener: TcpListener, answers: Arc<Mutex<VecDeque<Answer>>>, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await?);
            }
            asked.lock().unwrap().push(String::from_utf8_lossy(&head).to_lowercase());
            let answer = answers.lock().unwrap().pop_front();
            match answer {
                Some(answer) => answer.give(&mut socket).await,
                None => Ok(()),
            }
        });
    }
}

fn object() -> ObjectRef {
    ObjectRef { origin: "truth".into(), key: "file".into(), version: "\"v1\"".into(), size: SIZE as u64 }
}

/// The bytes that were shown, which must be the object's first, and how it ended.
async fn read(origin: &Origin) -> (usize, Result<(), OriginError>) {
    let mut shown = 0;
    let mut parts = match origin.read(&object(), ByteRange::new(0, SIZE as u64)).await {
        Ok(parts) => parts,
        Err(error) => return (0, Err(error)),
    };
    loop {
        match parts.try_next().await {
            Ok(Some(part)) => {
                assert_eq!(part, object_bytes()[shown..shown + part.len()]);
                shown += part.len();
            }
            Ok(None) => return (shown, Ok(())),
            Err(error) => return (shown, Err(error)),
        }
    }
}

/// Reads the object from a server with these answers, as each kind of origin: all must end like this.
async fn reads(answers: &[Answer], shown: usize, end: &str) -> Vec<Faulty> {
    reads_as(&KINDS, answers, shown, end).await
}

async fn reads_as(kinds: &[fn(&str) -> Origin], answers: &[Answer], shown: usize, end: &str) -> Vec<Faulty> {
    let read_as = |kind: fn(&str) -> Origin| async move {
        let server = Faulty::start(answers.iter().cloned()).await;
        let (bytes, ended) = read(&kind(&server.url)).await;
        let ended = ended.err().map_or_else(|| "ok".to_owned(), |error| format!("{}: {error}", error.kind()));
        assert!(bytes == shown && ended.starts_with(end), "{bytes} bytes, then {ended}");
        server
    };
    join_all(kinds.iter().copied().map(read_as)).await
}

#[tokio::test]
async fn a_body_that_breaks_is_continued_and_no_byte_given_twice() {
    let answers = [Answer::from("v1", 0).until(70_000), Answer::from("v1", 70_000).until(70_001), Answer::from("v1", 70_001)];
    for server in reads(&answers, SIZE, "ok").await {
        assert_eq!(server.asked("range"), ["bytes=0-199999", "bytes=70000-199999", "bytes=70001-199999"]);
        assert_eq!(server.asked("if-match"), ["\"v1\"", "\"v1\"", "\"v1\""]);
    }
}

#[tokio::test]
async fn an_object_that_changes_between_tries_shows_nothing_of_its_next_version() {
    let broken = Answer::from("v1", 0).until(SIZE / 2);
    for next in [Answer::status("412 Precondition Failed"), Answer::from("v2", SIZE / 2)] {
        reads(&[broken.clone(), next], SIZE / 2, "changed").await;
    }
    reads(&[broken, Answer::status("404 Not Found")], SIZE / 2, "not_found").await;
}

#[tokio::test]
async fn errors_of_the_server_are_asked_again_four_times() {
    let failed = Answer::status("500 Internal Server Error");
    let away = Answer::from("v1", 0).until(0);
    reads(&[failed.clone(), Answer::status("502 Bad Gateway"), away, Answer::from("v1", 0)], SIZE, "ok").await;
    for server in reads(&[failed.clone(), failed.clone(), failed.clone(), failed, Answer::from("v1", 0)], 0, "unavailable").await
    {
        assert_eq!(server.asked("range").len(), 4);
    }
}

#[tokio::test]
async fn a_server_that_throttles_is_left_alone_for_as_long_as_it_says() {
    let throttled = || Answer::status("429 Too Many Requests").with("Retry-After: 1");
    let left_alone = |kind: fn(&str) -> Origin| async move {
        let server = Faulty::start([throttled(), Answer::status("503 Slow Down"), Answer::from("v1", 0)]).await;
        let origin = kind(&server.url);
        let mut held = origin.held();
        let hold = async {
            held.changed().await.unwrap();
            held.borrow_and_update().left().as_millis()
        };
        let ((shown, end), left) = tokio::join!(read(&origin), hold);
        assert_eq!((shown, end), (SIZE, Ok(())));
        assert!(left <= 1000, "{left}");
        assert_eq!(server.asked("range").len(), 3);
    };
    join_all(KINDS.map(left_alone)).await;
}

#[tokio::test]
async fn a_server_that_throttles_for_too_long_is_not_waited_for() {
    let throttled = Answer::status("429 Too Many Requests").with("Retry-After: 100");
    for server in reads(&[throttled, Answer::from("v1", 0)], 0, "throttled").await {
        assert_eq!(server.asked("range").len(), 1);
    }
}

/// Takes the 10 s that a silent body is waited for.
#[tokio::test]
async fn a_body_that_falls_silent_is_continued() {
    reads(&[Answer::from("v1", 0).until(SIZE / 2).silent(), Answer::from("v1", SIZE / 2)], SIZE, "ok").await;
}

#[tokio::test]
async fn bytes_are_shown_as_they_come() {
    for kind in KINDS {
        let server = Faulty::start([Answer::from("v1", 0).until(SIZE / 2).silent()]).await;
        let mut parts = kind(&server.url).read(&object(), ByteRange::new(0, SIZE as u64)).await.unwrap();
        let mut shown = 0;
        while shown < SIZE / 2 {
            shown += parts.try_next().await.unwrap().unwrap().len();
        }
    }
}

#[tokio::test]
async fn answers_of_another_length_are_no_bytes_of_the_object() {
    let part = "HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
    let answer = |head: String| Answer { head, body: 0..1000, silent: false };
    let short = answer(format!("{part}Content-Length: 1000\r\nContent-Range: bytes 0-999/{SIZE}\r\n"));
    let other = answer(format!("{part}Content-Length: 1000\r\nContent-Range: bytes 5-1004/{SIZE}\r\n"));
    let smaller = answer(format!("{part}Content-Length: 1000\r\nContent-Range: bytes 0-999/1000\r\n"));
    for answer in [[short], [other]] {
        reads_as(&KINDS[..3], &answer, 0, "unavailable").await;
        reads_as(&KINDS[3..], &answer, 0, "unusable").await;
    }
    reads_as(&KINDS[3..], &[smaller], 0, "changed").await;
}

#[tokio::test]
async fn a_web_server_without_ranges_gives_what_is_whole() {
    let whole =
        Answer { head: format!("HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {SIZE}\r\n"), body: 0..SIZE, silent: false };
    let server = Faulty::start([whole.clone(), whole]).await;
    let origin = site(&server.url);
    assert_eq!(read(&origin).await, (SIZE, Ok(())));
    let part = origin.read(&object(), ByteRange::new(10, 20)).await;
    let error = part.err().unwrap();
    assert!(error.kind() == "unusable" && error.to_string().contains("does not answer ranges"), "{error}");
}

#[tokio::test]
async fn a_web_server_that_does_not_tell_versions_apart_is_not_believed() {
    let whole = Answer { head: format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n"), body: 0..0, silent: false };
    let part = Answer {
        head: format!("HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/{SIZE}\r\n"),
        body: 0..10,
        silent: false,
    };
    let server =
        Faulty::start([whole.clone(), part.clone(), part, whole.with("Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT")]).await;
    let origin = site(&server.url);
    let (head, open) = (origin.head("file").await.err(), origin.open("file", 10).await.err());
    let read = origin.read(&object(), ByteRange::new(0, 10)).await.err();
    for error in [head, open, read] {
        let error = error.unwrap();
        assert!(error.kind() == "unusable" && error.to_string().contains("neither ETag nor Last-Modified"), "{error}");
    }
    assert_eq!(origin.head("file").await.unwrap().object.size, SIZE as u64, "either will do");
}

#[tokio::test]
async fn a_web_server_that_does_not_speak_head_is_asked_for_a_byte() {
    let byte = Answer {
        head: format!("HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/{SIZE}\r\n"),
        body: 0..1,
        silent: false,
    };
    let server = Faulty::start([Answer::status("405 Method Not Allowed"), byte]).await;
    assert_eq!(site(&server.url).head("file").await.unwrap().object, object());
}

/// Apache's tells none of an empty file.
#[tokio::test]
async fn a_web_server_whose_head_tells_no_length_is_asked_for_a_byte() {
    let head = |status: &str| Answer { head: format!("HTTP/1.1 {status}\r\nETag: \"v1\"\r\n"), body: 0..0, silent: false };
    let empties = [
        head("200 OK").with("Content-Length: 0"),
        head("200 OK"),
        head("416 Range Not Satisfiable").with("Content-Length: 0").with("Content-Range: bytes */0"),
    ];
    for empty in empties {
        let server = Faulty::start([head("200 OK"), empty]).await;
        let found = site(&server.url).head("file").await.unwrap().object;
        assert_eq!((found.size, found.version.as_str()), (0, "\"v1\""));
        assert_eq!(server.asked("range"), ["", "bytes=0-0"]);
    }
}

#[tokio::test]
async fn an_odd_file_does_not_spoil_its_directory() {
    let html = "<title>Index of /</title><a href=\"a\">a</a><a href=\"b\">b</a>";
    // What is written behind the page's length is no part of it.
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{html}", html.len());
    let index = Answer { head, body: 0..0, silent: false };
    let (odd, even) = (Answer::status("200 OK"), Answer::status("200 OK").with("ETag: \"v1\""));
    let server = Faulty::start([index.clone(), odd.clone(), even]).await;
    assert_eq!(site(&server.url).list("", None).await.unwrap().entries.len(), 1);
    assert!(server.asked("accept")[0].starts_with("application/json"), "Caddy tells most to who asks for it");
    let server = Faulty::start([index, odd.clone(), odd]).await;
    let error = site(&server.url).list("", None).await.unwrap_err();
    assert!(error.to_string().contains("neither ETag nor Last-Modified"), "where all are odd it is said why: {error}");
}

#[tokio::test]
async fn an_empty_object_of_which_a_range_is_given_is_asked_about() {
    let part = Answer::status("206 Partial Content").with("ETag: \"v1\"").with("Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT");
    let empty = Answer::status("200 OK").with("ETag: \"v1\"").with("Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT");
    for answer in [part.clone().with("Content-Range: bytes 0-0/0"), part.with("Content-Range: bytes 0--1/0"), empty.clone()] {
        let server = Faulty::start([answer, empty.clone()]).await;
        let (found, parts) = bucket("models", &server.url).open("file", 10).await.unwrap();
        assert!(found.object.size == 0 && parts.is_none());
        assert_eq!(server.asked("range"), ["bytes=0-9", ""]);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    // Bound, so that nobody else is there, and never listening.
    let gone = TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    for kind in KINDS {
        let origin = kind(&url);
        let error = origin.head("file").await.unwrap_err();
        assert_eq!(error.kind(), "unavailable");
        let text = error.to_string();
        assert!(text.contains("truth") && text.contains("file") && text.contains("refused"), "{text}");
    }
}

#[path = "../tests/server/fake.rs"]
#[allow(dead_code)]
mod fake;
use futures_util::StreamExt;
use herring_blob::*;
use herring_http_api::client::*;
use herring_http_api::peer::ChunkRequest;
use herring_http_api::server::*;
use std::time::*;

#[tokio::main]
async fn main() {
    let (fake, id) = fake::Fake::with(vec![7u8; 256 << 20]);
    let small = fake.keep(b"0123456789".as_slice().into());
    let server = Server::bind("127.0.0.1:7979".parse().unwrap(), ServerConfig::default()).await.unwrap();
    let addr = server.local_addr();
    println!("big {id}\nsmall {small}\nhttp://{addr}");
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(server.serve(fake.backend(), fake.peers(), stop.clone()));
    if std::env::args().nth(1).as_deref() == Some("bench") {
        for round in 0..3 {
            let client = std::sync::Arc::new(PeerClient::new(PeerConfig::default()));
            for streams in [1u32, 8] {
                let start = Instant::now();
                let total = 512u32;
                let tasks: Vec<_> = (0..streams)
                    .map(|s| {
                        let client = client.clone();
                        tokio::spawn(async move {
                            let ask = Ask { epoch: "e".into(), deadline: Duration::from_secs(10) };
                            for n in 0..total / streams {
                                let index = (s * 31 + n) % 256;
                                let r = client.chunk(addr, &ChunkRequest::Blob { id, index }, 1 << 20, &ask).await.unwrap();
                                assert_eq!(r.bytes.len(), 1 << 20);
                            }
                        })
                    })
                    .collect();
                for t in tasks {
                    t.await.unwrap();
                }
                println!(
                    "round {round} chunks of 1 MiB, {streams} streams: {:.2} GB/s",
                    f64::from(total) * 1.048576e-3 / start.elapsed().as_secs_f64()
                );
            }
            let api = ApiClient::new(&format!("http://{addr}")).unwrap();
            let start = Instant::now();
            let (size, mut body) = api.get(id, None).await.unwrap();
            let mut n = 0;
            while let Some(b) = body.next().await {
                n += b.unwrap().len() as u64;
            }
            assert_eq!(n, size);
            println!("round {round} get: {:.2} GB/s", n as f64 * 1e-9 / start.elapsed().as_secs_f64());
        }
        stop.cancel();
    } else {
        tokio::signal::ctrl_c().await.unwrap();
        stop.cancel();
    }
    let t = Instant::now();
    serving.await.unwrap();
    println!("stopped in {:?}", t.elapsed());
}

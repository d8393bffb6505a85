use std::time::Duration;

use clap::Args;
use herring_http_api::client::ApiClient;
use herring_http_api::types::{Drain, DrainState};

use crate::error::{Failure, OrFail};
use crate::output::Output;
use crate::progress::Progress;
use crate::signals::Stop;

/// Between two looks at how far it is.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Takes it back: the node takes part again
    #[arg(long)]
    cancel: bool,
}

pub async fn run(client: &ApiClient, output: Output, args: &DrainArgs) -> Result<(), Failure> {
    if args.cancel {
        client.cancel_drain().await?;
        return output.show(&client.drained().await?, || "the node takes part again\n".to_owned());
    }
    let mut stop = Stop::listen()?;
    let goes_on =
        "not waited for; the node goes on giving away what it keeps: ask again to wait for it, or take it back with --cancel";
    tokio::select! {
        drained = drain(client) => output.show(&drained?, || "drained: the others have all that this node kept, and it can be stopped; what it has cached, of origins too, goes with it\n".to_owned()),
        () = stop.asked() => Err(Failure::failed(goes_on)),
    }
}

/// Begins it and waits for its end, its progress shown until then.
async fn drain(client: &ApiClient) -> Result<Drain, Failure> {
    let (progress, mut most) = (Progress::new("drain", Some(0)), 0);
    let mut now = client.drain().await?;
    loop {
        match now.state {
            DrainState::Drained => return Ok(now),
            DrainState::No => return Err(Failure::failed("somebody took it back: the node takes part again")),
            DrainState::Draining => {}
        }
        most = now.left_bytes.max(most);
        progress.set(most - now.left_bytes, most);
        tokio::time::sleep(INTERVAL).await;
        now = client
            .drained()
            .await
            .or_fail(|| "lost sight of the node, which may have been stopped before it was drained".to_owned())?;
    }
}

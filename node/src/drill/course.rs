use std::sync::Arc;
use std::time::Duration;

use herring_http_api::client::ClientError;
use herring_http_api::types::Problem;
use tokio::time::{Instant, sleep, sleep_until};

use super::blob::Blob;
use super::drain::drain;
use super::hands::Hands;
use super::load::{Load, Rates};
use super::places::Places;
use super::random::Random;
use super::report::{Done, Report, ms};
use super::scenario::{Deed, Scenario};
use super::site::{At, Site, Sites};
use super::tally::Phase;
use super::{agree, check, settle};
use crate::error::Failure;

/// The label of the choice of victims.
const VICTIM: u64 = 1 << 33;
/// Before and after what happens, each this part of the loaded time.
const PART: u32 = 4;
/// For a node that starts, and for a first read, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// A node that starts may accept for so long before it speaks TLS.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What is to happen, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub scenario: Scenario,
    pub rates: Rates,
    /// How long a node is paused or cut off.
    pub hold: Duration,
    /// For full replication after the last step, and for a node that drains.
    pub settle: Duration,
}

/// A drill under way.
pub struct Course<'a> {
    plan: Plan,
    hands: &'a mut dyn Hands,
    sites: Arc<Sites>,
    load: Load,
    report: Report,
    /// Where everything was before the first step; what was put since, as it was after the last.
    before: Places,
}

/// Does it all, and says what was found.
pub async fn run(plan: Plan, hands: &mut dyn Hands) -> Result<Report, Failure> {
    let mut sites = Vec::new();
    for at in hands.nodes()? {
        sites.push(meet(at).await?);
    }
    let (nodes, sites) = (sites.len(), Arc::new(Sites::new(sites)));
    agree::all(&sites.all()).await?;
    let load = Load::new(plan.rates, sites.clone());
    let report = Report { scenario: plan.scenario.name(), seed: plan.rates.seed, nodes, ..Report::default() };
    let mut course = Course { plan, hands, sites, load, report, before: Places::default() };
    course.go().await;
    Ok(course.conclude().await)
}

/// The node that is there, once it says who it is.
async fn meet(at: At) -> Result<Site, Failure> {
    let client = at.client()?;
    let (begun, deadline) = (Instant::now(), Instant::now() + DEADLINE);
    loop {
        match client.cluster().await {
            Ok(cluster) => return Ok(Site::new(cluster.node, at, Arc::new(client))),
            Err(error) if is_refusal(&error) => return Err(refused(&error)),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(error @ ClientError::Connect { .. }) if begun.elapsed() > HANDSHAKE && at.is_secure() && at.accepts().await => {
                return Err(refused(&error));
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// It answers, and will not answer otherwise to those who ask on: without the right token, or in clear where TLS is spoken.
fn is_refusal(error: &ClientError) -> bool {
    matches!(error, ClientError::Problem(Problem { status: 400 | 401 | 403, .. }))
}

fn refused(error: &ClientError) -> Failure {
    Failure::failed(format_args!(
        "{error}. Where nodes ask who is there, a drill needs the token of an admin, from --token-file FILE or HERRING_TOKEN, and where they speak TLS, \
         the authority of their certificates: --ca FILE"
    ))
}

impl Course<'_> {
    /// Everything that needs the load, and the reading of all that was acknowledged.
    async fn go(&mut self) {
        let part = self.plan.rates.over / PART;
        let work = self.load.begin();
        sleep(part).await;
        self.warm().await;
        let known = self.load.acknowledged();
        self.before = Places::look(&self.sites, &known).await;
        let pulled = settle::pulled(&self.sites).await;
        self.load.enter(Phase::During);
        self.steps().await;
        self.load.enter(Phase::After);
        let (stepped, load_end) = (Instant::now(), self.load_end(part));
        let known = self.load.acknowledged();
        let later: Vec<Blob> = known.iter().filter(|blob| !self.before.has(blob.id)).cloned().collect();
        self.before.extend(Places::look(&self.sites, &later).await);
        let deadline = stepped + self.plan.settle;
        let settled = async { settle::wait(&self.sites, &known, deadline).await.map(|()| stepped.elapsed()) };
        let loaded = async {
            sleep_until(load_end).await;
            self.load.end(work).await;
        };
        let (settled, ()) = tokio::join!(settled, loaded);
        self.report.replicated_after_ms = settled.ok().map(ms);
        self.settle_all(deadline).await;
        self.compare(&pulled).await;
        check::all(&self.load).await;
    }

    /// There is nothing to compare with before a first read; where none succeeds, the rest will tell why.
    async fn warm(&self) {
        let deadline = Instant::now() + DEADLINE;
        while self.load.tally().figures(Phase::Before).reads == 0 && Instant::now() < deadline {
            sleep(POLL).await;
        }
    }

    /// At least a part of the time follows the last step.
    fn load_end(&self, part: Duration) -> Instant {
        let rest = self.plan.rates.over.saturating_sub(self.load.since_start());
        Instant::now() + rest.max(part)
    }

    /// With what was put last, too.
    async fn settle_all(&mut self, deadline: Instant) {
        let all = self.load.acknowledged();
        let settled = settle::wait(&self.sites, &all, deadline).await;
        self.report.replicated = settled.is_ok();
        if let Err(why) = settled {
            self.report.look_at.push(format!("not fully replicated: {why}"));
        }
    }

    async fn compare(&mut self, pulled: &[(String, u64)]) {
        let after = Places::look(&self.sites, &self.load.acknowledged()).await;
        self.report.ideal_bytes = self.before.must_move(&after);
        self.report.moved_bytes = settle::pulled_since(pulled, &settle::pulled(&self.sites).await);
    }

    async fn steps(&mut self) {
        let count = self.sites.all().len();
        let mut numbers = Random::derived(self.plan.rates.seed, &[VICTIM]);
        let victim = usize::try_from(numbers.below(count as u64)).unwrap_or_default();
        for (deed, node) in self.plan.scenario.steps(count, victim, self.plan.hold) {
            if let Err(failure) = self.step(deed, node).await {
                self.report.look_at.push(format!("broken off: {failure}"));
                return;
            }
        }
        if let Err(failure) = agree::all(&self.sites.serving()).await {
            self.report.look_at.push(format!("broken off: {failure}"));
        }
    }

    async fn step(&mut self, deed: Deed, node: usize) -> Result<(), Failure> {
        let targets = if matches!(deed, Deed::Cut | Deed::Heal) { self.hands.minority() } else { vec![node] };
        let sites: Vec<Arc<Site>> =
            self.sites.all().into_iter().enumerate().filter(|(n, _)| targets.contains(n)).map(|(_, site)| site).collect();
        let names = sites.iter().map(|site| site.id.as_str()).collect::<Vec<_>>().join(" ");
        let name = if sites.is_empty() { format!("node {}", node + 1) } else { names };
        self.tell(deed.told(&name));
        match deed {
            Deed::Kill | Deed::Stop | Deed::Pause | Deed::Cut => sites.iter().for_each(|site| site.fall()),
            _ => {}
        }
        match deed {
            Deed::Join => self.join().await?,
            Deed::Drain => self.drain(&sites).await,
            Deed::Stop => self.hands.stop(node).await?,
            Deed::Kill => self.hands.kill(node).await?,
            Deed::Wipe => self.hands.wipe(node).await?,
            Deed::Start => self.hands.start(node).await?,
            Deed::Pause => self.hands.pause(node).await?,
            Deed::Resume => self.hands.resume(node).await?,
            Deed::Cut => self.hands.cut().await?,
            Deed::Heal => self.hands.heal().await?,
            Deed::Wait(time) => sleep(time).await,
        }
        if deed == Deed::Wipe {
            self.before.forget(&name);
        }
        if matches!(deed, Deed::Start | Deed::Resume | Deed::Heal) { self.back(&sites).await } else { Ok(()) }
    }

    /// Nobody is sent to a node before it serves and all see it.
    async fn back(&mut self, sites: &[Arc<Site>]) -> Result<(), Failure> {
        agree::all(&[self.sites.serving(), sites.to_vec()].concat()).await?;
        sites.iter().for_each(|site| site.rise());
        Ok(())
    }

    async fn join(&mut self) -> Result<(), Failure> {
        self.hands.join().await?;
        let at = self.hands.nodes()?.pop().ok_or_else(|| Failure::failed("no node joined"))?;
        let site = meet(at).await?;
        site.fall();
        self.sites.add(site);
        let joined: Vec<Arc<Site>> = self.sites.all().into_iter().rev().take(1).collect();
        self.back(&joined).await
    }

    async fn drain(&mut self, sites: &[Arc<Site>]) {
        for site in sites {
            let came = drain(&site.at, self.plan.settle).await;
            self.tell(format!("{}: {came}", site.id));
        }
    }

    fn tell(&mut self, what: String) {
        self.report.steps.push(Done::at(self.load.since_start(), what));
    }

    async fn conclude(mut self) -> Report {
        let all = self.load.acknowledged();
        (self.report.blobs, self.report.bytes) = (all.len(), all.iter().map(|blob| blob.size).sum());
        let broken = self.report.look_at.iter().any(|sentence| sentence.starts_with("broken off"));
        self.report.take(&self.load.tally());
        self.report.ok = self.report.is_sound() && !broken;
        if !self.report.ok {
            self.report.look_at.extend(self.hands.logs().into_iter().map(|log| format!("log: {log}")));
        }
        if self.hands.borrowed() {
            self.clean(&all).await;
        }
        self.report
    }

    /// A swarm that is somebody's gets rid of our blobs.
    async fn clean(&mut self, all: &[Blob]) {
        let Some(client) = self.sites.serving().first().and_then(|site| site.at.client().ok()) else { return };
        let mut left = 0;
        for blob in all {
            left += usize::from(client.delete(blob.id).await.is_err());
        }
        if left > 0 {
            self.report.look_at.push(format!("{left} blobs of this drill could not be deleted"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_does_not_ask_again() {
        let of = |status| {
            let detail = "show a token".to_owned();
            ClientError::Problem(Problem { kind: String::new(), title: String::new(), status, detail })
        };
        for (status, last) in [(400, true), (401, true), (403, true), (429, false), (503, false)] {
            assert_eq!(is_refusal(&of(status)), last, "{status}");
        }
        let told = refused(&of(401)).to_string();
        assert!(told.starts_with("show a token. ") && told.contains("--token-file FILE") && told.contains("--ca FILE"), "{told}");
    }
}

//! A swarm that asks everybody who they are.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use herring_blob::BlobId;
use herring_http_api::access::Token;
use herring_http_api::client::{ApiClient, ClientError, PeerConfig};
use herring_http_api::tls::ClientTls;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::servers::runs;
use crate::stand_in::StandIn;
use crate::swarm::{HERRING, Plan, Swarm, collect, have, noise, stream, wait_until};

/// A file of tokens, as `herring token` keeps it.
struct Tokens {
    dir: TempDir,
}

impl Tokens {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("certs/tokens.toml")
    }

    /// What the command prints, which must be all that is wanted.
    fn run(&self, args: &[&str]) -> String {
        let output = Command::new(HERRING).arg("token").args(args).arg("--file").arg(self.file()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn make(&self, name: &str, args: &[&str]) -> String {
        let told = self.run(&[&["new", name], args].concat());
        let token = told.strip_suffix('\n').unwrap();
        assert!(token.starts_with("herring_") && token.len() == 72, "nothing but the token is printed: {told}");
        token.to_owned()
    }
}

fn start(tokens: &Tokens, nodes: usize, origins: Vec<String>) -> (Swarm, String) {
    let admin = tokens.make("test", &["--scope", "admin"]);
    let authority = Some(Arc::new(Authority::new()));
    let known = Some((tokens.file(), admin.clone()));
    (Swarm::start(Plan { nodes, replicas: nodes, authority, tokens: known, origins, ..Plan::default() }), admin)
}

impl Swarm {
    fn bearer(&self, n: usize, token: &str) -> ApiClient {
        let tls = Some(ClientTls::load(self.nodes[n].ca.as_ref().unwrap(), None).unwrap());
        let token = (!token.is_empty()).then(|| token.parse::<Token>().unwrap());
        ApiClient::with_config(&self.nodes[n].url(), &PeerConfig { tls, token, ..PeerConfig::patient() }).unwrap()
    }

    fn object_as(&self, n: usize, token: &str, origin: &str, key: &str) -> Result<Vec<u8>, u16> {
        self.block(async {
            let (_, body) = self.bearer(n, token).get_object(origin, key, None).await.map_err(status)?;
            Ok(collect(body).await)
        })
    }

    fn cluster_as(&self, n: usize, token: &str) -> u16 {
        self.block(async { self.bearer(n, token).cluster().await }).map_or_else(status, |_| 200)
    }

    fn log(&self, n: usize) -> String {
        fs::read_to_string(self.nodes[n].dir.join("log")).unwrap()
    }
}

fn status(error: ClientError) -> u16 {
    match error {
        ClientError::Problem(problem) => problem.status,
        other => panic!("{other}"),
    }
}

/// A herring command as its users run it: its exit code, and what it says on stderr.
fn command(swarm: &Swarm, token: &str, args: &[&str]) -> (i32, String) {
    let node = &swarm.nodes[0];
    let mut command = Command::new(HERRING);
    command.args(args).args(["--node", &node.url(), "--ca"]).arg(node.ca.as_ref().unwrap()).env("HERRING_TOKEN", token);
    let output = command.stdout(Stdio::null()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn each_may_what_its_token_says_while_it_lasts() {
    let tokens = Tokens::new();
    let (read, short) = (tokens.make("reader", &["--scope", "read"]), tokens.make("short", &["--scope", "admin", "--ttl", "1s"]));
    let team = tokens.make("team", &["--scope", "write", "--only", "names/team/", "--only", "blobs/"]);
    let (swarm, admin) = start(&tokens, 2, Vec::new());
    assert_eq!([swarm.cluster_as(1, ""), swarm.cluster_as(1, &read), swarm.cluster_as(1, &team)], [401, 200, 403]);
    wait_until("a second to be over", || swarm.cluster_as(1, &short) == 401);

    let bytes = noise(9 << 20, 3);
    let put = |token: &str| {
        swarm.block(async {
            let put = swarm.bearer(0, token).put(None, Some(bytes.len() as u64), stream(Bytes::from(bytes.clone()))).await;
            put.map(|(stored, _)| stored.id).map_err(status)
        })
    };
    assert_eq!((put(""), put(&read)), (Err(401), Err(403)));
    // One of the two may be taken for silent.
    wait_until("nodes to store it at each other, by their certificates", || put(&team) != Err(503));
    assert_eq!(put(&team), Ok(BlobId::of(&bytes)));
    assert!(swarm.get(1, BlobId::of(&bytes)) == bytes);
    assert_eq!(swarm.block(swarm.bearer(0, &team).delete(BlobId::of(&bytes))).map_err(status), Err(403));

    let (code, told) = command(&swarm, "", &["status"]);
    assert!(code == 1 && told.contains("HERRING_TOKEN"), "{told}");
    let (code, told) = command(&swarm, &read, &["drain"]);
    assert!(code == 1 && told.contains("scope read") && told.contains("needs admin"), "{told}");
    let (code, told) = command(&swarm, &team, &["ls"]);
    assert!(code == 1 && told.contains("names/team/"), "{told}");
    assert_eq!(command(&swarm, &team, &["ls", "team/"]).0, 0);
    assert_eq!(command(&swarm, &read, &["status"]).0, 0);

    let listed = tokens.run(&["ls"]);
    assert!(listed.contains("team") && listed.contains("(over)") && !listed.contains("herring_"), "{listed}");
    tokens.run(&["rm", "reader"]);
    wait_until("the token to be forgotten", || (0..2).all(|n| swarm.cluster_as(n, &read) == 401));
    assert_eq!(swarm.cluster_as(0, &admin), 200);
    let late = tokens.make("late", &["--scope", "read"]);
    wait_until("the token to be known", || swarm.cluster_as(0, &late) == 200);

    let log = swarm.log(0);
    for wanted in [
        "audit: ",
        "who=team",
        "who=anyone",
        "method=\"POST\"",
        "resource=\"/v1/blobs\"",
        "status=201",
        "status=403",
        "from=127.0.0.1",
    ] {
        assert!(log.contains(wanted), "{wanted} is not in\n{log}");
    }
    let secrets = [&read, &short, &team, &admin, &late];
    let cluster = swarm.block(async { swarm.bearer(0, &admin).cluster().await }).unwrap();
    let kept = [log, swarm.log(1), format!("{cluster:?}"), fs::read_to_string(tokens.file()).unwrap()];
    assert!(kept.iter().all(|text| secrets.iter().all(|secret| !text.contains(&secret[8..]))), "a secret is written down");
}

/// Prints what comes of reading each key: its length, or the status and code of the refusal.
const BUCKETS: &str = "
import sys, boto3, botocore
door, ca, token, *keys = sys.argv[1:]
s3 = boto3.client('s3', endpoint_url=door, aws_access_key_id=token, aws_secret_access_key='any', region_name='us-east-1', verify=ca)
for at in keys:
    bucket, key = at.split('/', 1)
    try:
        print(len(s3.get_object(Bucket=bucket, Key=key)['Body'].read()))
    except botocore.exceptions.ClientError as error:
        print(error.response['ResponseMetadata']['HTTPStatusCode'], error.response['Error']['Code'])
try:
    print([entry['Key'] for entry in s3.list_objects_v2(Bucket='a', Prefix='team/')['Contents']])
except botocore.exceptions.ClientError as error:
    print(error.response['Error']['Code'])
";

/// What one tenant may read another's token opens nowhere, though the bytes are here already.
#[test]
fn what_is_cached_is_for_those_alone_whose_origin_it_is() {
    let (dir, tokens) = (tempfile::tempdir().unwrap(), Tokens::new());
    let bytes = noise(5 << 20, 4);
    for origin in ["a", "b"] {
        fs::create_dir_all(dir.path().join(origin).join("team")).unwrap();
        fs::write(dir.path().join(origin).join("team/model"), &bytes).unwrap();
    }
    let origins = ["a", "b"].map(|name| format!("{name}=file://{}", dir.path().join(name).display())).into();
    let (a, b) = (
        tokens.make("a", &["--scope", "read", "--only", "origins/a/"]),
        tokens.make("b", &["--scope", "read", "--only", "origins/b/"]),
    );
    let (swarm, _) = start(&tokens, 2, origins);
    for (token, mine, other) in [(&a, "a", "b"), (&b, "b", "a")] {
        assert!(swarm.object_as(0, token, mine, "team/model") == Ok(bytes.clone()));
        assert_eq!(swarm.object_as(0, token, other, "nothing"), Err(403), "as for what is not there");
    }
    for (token, other) in [(&a, "b"), (&b, "a")] {
        for n in 0..2 {
            assert_eq!(swarm.object_as(n, token, other, "team/model"), Err(403), "node {n}");
        }
    }
    if !have("boto3", runs(Command::new("python3").args(["-c", "import boto3"]))) {
        return;
    }
    let door = format!("{}/s3", swarm.nodes[1].url());
    let buckets = |token: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", BUCKETS, &door]).arg(swarm.nodes[1].ca.as_ref().unwrap());
        let output = command.args([token, "a/team/model", "b/team/model", "b/nothing"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(buckets(&a), format!("{}\n403 AccessDenied\n403 AccessDenied\n['team/model']\n", bytes.len()));
    assert_eq!(buckets(&b), format!("403 AccessDenied\n{}\n404 NoSuchKey\nAccessDenied\n", bytes.len()));
    assert!(buckets("nobody").starts_with("401 InvalidAccessKeyId\n401 InvalidAccessKeyId\n"));
}

/// Prints the length of the file, or the status of the refusal.
const FILE: &str = "
import sys, os
from huggingface_hub import hf_hub_download
try:
    print(os.path.getsize(hf_hub_download(sys.argv[1], 'model')))
except Exception as error:
    while error and getattr(error, 'response', None) is None:
        error = error.__cause__
    print(error.response.status_code)
";

#[test]
fn a_hubs_client_shows_its_token_and_reads_its_repositories_alone() {
    if !have("hubclient", runs(Command::new("python3").args(["-c", "import huggingface_hub"]))) {
        return;
    }
    let Some(hub) = StandIn::start(&[]) else { return };
    for repository in ["org/mine", "org/other"] {
        hub.write(&format!("models/{repository}/main/model"), b"weights");
    }
    let tokens = Tokens::new();
    let mine = tokens.make("mine", &["--scope", "read", "--only", "origins/hub/org/mine@"]);
    let whole = tokens.make("whole", &["--scope", "read", "--only", "origins/hub/org/"]);
    let (swarm, _) = start(&tokens, 1, vec![format!("hub=hf://?endpoint={}", hub.endpoint())]);
    let home = tempfile::tempdir().unwrap();
    let download = |token: &str, repository: &str| {
        let (endpoint, ca) = (format!("{}/hf", swarm.nodes[0].url()), swarm.nodes[0].ca.clone().unwrap());
        let mut command = Command::new("python3");
        command
            .args(["-c", FILE, repository])
            .env("HF_ENDPOINT", endpoint)
            .env("HF_HOME", home.path().join(token))
            .env("HF_TOKEN", token);
        let command = command.env("SSL_CERT_FILE", &ca).env("REQUESTS_CA_BUNDLE", &ca).env("HF_HUB_DISABLE_TELEMETRY", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!((download(&whole, "org/mine"), download(&whole, "org/other")), ("7".into(), "7".into()));
    assert_eq!((download(&mine, "org/mine"), download(&mine, "org/other")), ("7".into(), "403".into()));
    assert_eq!(download("nobody", "org/mine"), "401");
}

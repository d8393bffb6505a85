use super::*;

fn settings(toml: &str) -> NodeSettings {
    NodeSettings::parse(toml).unwrap()
}

fn config(toml: &str) -> NodeConfig {
    NodeConfig::new(settings(toml)).unwrap()
}

/// The sentence that refuses this.
fn refusal(toml: &str) -> String {
    let failure = NodeConfig::new(settings(toml)).unwrap_err();
    assert_eq!(failure, Failure::usage(&failure));
    failure.to_string()
}

#[test]
fn nothing_said_is_one_node_on_loopback() {
    let config = config("");
    assert_eq!(config.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.advertise, config.listen);
    assert_eq!(config.gossip.to_string(), "127.0.0.1:7071");
    assert_eq!(config.gossip_advertise, config.gossip);
    assert_eq!((config.replicas, config.weight, config.capacity), (3, 100, ByteSize::gib(100)));
    assert_eq!((config.id, config.mount), (None, None));
    assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("herring"));
}

#[test]
fn a_file_may_say_everything() {
    let everything = r#"
        id = "n1"
        cluster = "test"
        data-dir = "/nowhere/data"
        capacity = "2TiB"
        listen = "0.0.0.0:80"
        advertise = "10.0.0.1:80"
        gossip = "0.0.0.0:90"
        gossip-advertise = "10.0.0.1:91"
        seeds = ["a.example:7071", "[::1]:7071"]
        replicas = 2
        zone = "rack-1"
        weight = 0
        mount = "/nowhere/mnt"
        allow-other = true
        origins = ["root=file:///"]
        insecure = true
    "#;
    let config = config(everything);
    assert_eq!(config.id.unwrap().as_str(), "n1");
    assert_eq!(config.capacity, ByteSize::tib(2));
    assert_eq!(config.gossip_advertise.to_string(), "10.0.0.1:91");
    assert_eq!(config.seeds.len(), 2);
    assert_eq!((config.weight, config.replicas), (0, 2));
    assert_eq!(config.origins[0].name(), "root");
}

#[test]
fn flags_win_over_the_file() {
    let flags = settings("listen = '127.0.0.1:1'\nseed = ['a:1']");
    let file = settings("listen = '127.0.0.1:2'\nseed = ['b:1', 'c:1']\nzone = 'z'\nallow-other = true");
    let both = flags.over(file);
    assert_eq!(both.listen.unwrap().port(), 1);
    assert_eq!(both.seed, ["a:1"]);
    assert_eq!(both.zone.as_deref(), Some("z"));
    assert!(both.allow_other);
}

#[test]
fn the_line_of_what_a_file_gets_wrong_is_told() {
    let unknown = NodeSettings::parse("zone = 'a'\n\nreplicass = 3\n").unwrap_err();
    assert!(unknown.starts_with("line 3: unknown field `replicass`"), "{unknown}");
    let address = NodeSettings::parse("zone = 'a'\nlisten = 'here'\n").unwrap_err();
    assert!(address.starts_with("line 2: invalid socket address"), "{address}");
    let number = NodeSettings::parse("replicas = -1").unwrap_err();
    assert!(number.starts_with("line 1: "), "{number}");
    assert!(!NodeSettings::parse("a = ").unwrap_err().contains('\n'));
}

#[test]
fn off_loopback_needs_a_word() {
    for listen in ["10.0.0.1:7070", "[fe80::1]:7070"] {
        let sentence = refusal(&format!("listen = '{listen}'"));
        assert!(sentence.contains("off loopback, which needs TLS and a cluster key"), "{sentence}");
        assert!(sentence.contains("--insecure"));
        config(&format!("listen = '{listen}'\ninsecure = true"));
    }
    assert!(refusal("gossip = '10.0.0.1:7071'").starts_with("--gossip 10.0.0.1:7071 is off loopback"));
    config("listen = '[::1]:7070'");
}

#[test]
fn peers_must_be_told_an_address_that_they_can_reach() {
    assert!(refusal("listen = '0.0.0.0:7070'\ninsecure = true").contains("--advertise HOST:PORT"));
    assert!(refusal("listen = '127.0.0.1:0'\ngossip = '127.0.0.1:7071'").contains("--advertise HOST:PORT"));
    assert!(refusal("gossip = '127.0.0.1:0'").contains("--gossip-advertise HOST:PORT"));
    let config = config("listen = '0.0.0.0:7070'\nadvertise = '10.0.0.9:8000'\ninsecure = true");
    assert_eq!(config.gossip_advertise.to_string(), "10.0.0.9:7071");
}

#[test]
fn gossip_needs_a_port() {
    assert!(refusal("listen = '127.0.0.1:65535'").contains("--gossip ADDR"));
    assert!(refusal("listen = '127.0.0.1:0'").contains("--gossip ADDR"));
}

#[test]
fn impossible_figures_are_refused() {
    assert!(refusal("replicas = 0").starts_with("--replicas 0"));
    assert!(refusal("weight = 10001").contains("10000"));
    assert!(refusal("capacity = 0").starts_with("--capacity 0 B"));
    assert!(refusal("cluster = ''").starts_with("--cluster"));
    for seed in ["localhost", ":7071", "a:0", "a:70000"] {
        assert!(refusal(&format!("seed = ['{seed}']")).contains("HOST:PORT"));
    }
}

#[test]
fn impossible_origins_are_refused() {
    assert!(refusal("origin = ['file:///']").contains("NAME=URL"));
    assert!(refusal("origin = ['a=gopher://x']").contains("gopher"));
    assert!(refusal("origin = ['a=file:///', 'a=file:///']").contains("twice"));
    assert!(refusal("origin = ['a=file:///no/such/directory']").contains("/no/such/directory"));
}

#[test]
fn a_mount_needs_a_directory_of_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    assert!(refusal(&format!("mount = '{path}'")).contains("is not a directory"));
    assert!(refusal(&format!("mount = '{path}/mnt'")).contains("leads through"));
    assert!(refusal(&format!("data-dir = '{path}'")).starts_with("--data-dir"));
    assert!(refusal("data-dir = '/data/n1'\nmount = '/data'").contains("would cover the data directory"));
    assert!(refusal("allow-other = true").contains("--mount DIR"));
    config("data-dir = '/data/n1'\nmount = '/data/n1/mnt'");
}

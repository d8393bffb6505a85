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
    assert_eq!((config.replicas, config.weight, config.capacity), (3, None, ByteSize::gib(100)));
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
        profile-idle = 0
        rebalance-after = "5m"
        rebalance-rate = "1GiB"
        scrub-days = 0
    "#;
    let config = config(everything);
    assert_eq!(config.id.unwrap().as_str(), "n1");
    assert_eq!(config.capacity, ByteSize::tib(2));
    assert_eq!(config.gossip_advertise.to_string(), "10.0.0.1:91");
    assert_eq!(config.seeds.len(), 2);
    assert_eq!((config.weight, config.replicas), (Some(0), 2));
    assert_eq!(config.origins[0].name(), "root");
    assert_eq!(config.profile_idle, Some(Duration::ZERO));
    assert_eq!((config.rebalance_after, config.scrub_period), (Some(Duration::from_secs(300)), Some(Duration::ZERO)));
    assert_eq!(config.rebalance_rate, Some(ByteSize::gib(1)));
}

#[test]
fn a_size_is_a_number_or_a_text() {
    assert_eq!(config("capacity = 8388608").capacity, config("capacity = '8MiB'").capacity);
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

fn complaint(toml: &str) -> String {
    NodeSettings::parse(toml).unwrap_err()
}

#[test]
fn the_line_of_what_a_file_gets_wrong_is_told() {
    let unknown = complaint("zone = 'a'\n\nreplicass = 3\n");
    assert!(unknown.starts_with("line 3: unknown field `replicass`"), "{unknown}");
    assert!(complaint("zone = 'a'\nb = ").starts_with("line 2: "));
    assert!(!complaint("a = ").contains('\n'));
}

#[test]
fn the_key_that_is_wrong_is_named_with_what_is_allowed() {
    let cases = [
        ("listen = 'here'", "listen must be an IP address and a port in quotes"),
        ("listen = 7070", "listen must be an IP address"),
        ("capacity = '3 parsecs'", "capacity must be a number of bytes or a size in quotes, such as \"500GB\""),
        ("capacity = '3 parsecs'", "(\"3 parsecs\" is no size: write it like 500GB"),
        (
            "capacity = true",
            "capacity must be a number of bytes or a size in quotes, such as \"500GB\" or \"1TiB\" (it is neither",
        ),
        ("capacity = -1", "capacity must be"),
        ("replicas = -1", "replicas must be a whole number"),
        ("replicas = '3'", "replicas must be a whole number from 1 on, without quotes"),
        ("rebalance-after = 10", "rebalance-after must be a time in quotes, such as \"10s\""),
        ("rebalance-after = 'soon'", "such as \"10s\" or \"5m\" (\"soon\" is no time"),
        ("rebalance-rate = 'fast'", "rebalance-rate must be a number of bytes or a size in quotes"),
        ("scrub-days = 1.5", "scrub-days must be a whole number of days"),
        ("weight = 1.5", "weight must be a whole number from 0 to 10000"),
        ("id = 'a b'", "id must be a name of letters"),
        ("insecure = 'yes'", "insecure must be true or false"),
        ("mount = 1", "mount must be a directory"),
        ("cluster = 1", "cluster must be a name"),
        ("seed = 7071", "seed must be a HOST:PORT in quotes or a list"),
        ("seeds = ['a:1',\n 2]", "seeds must be a HOST:PORT in quotes or a list"),
        ("origin = [['a=b']]", "origin must be a NAME=URL in quotes or a list"),
    ];
    for (toml, expected) in cases {
        let told = complaint(&format!("zone = 'z'\n{toml}\ngossip = '127.0.0.1:7071'\n"));
        assert!(told.starts_with("line 2: ") || told.starts_with("line 3: "), "{toml}: {told}");
        assert!(told.contains(expected) && !told.contains('\n'), "{toml}: {told}");
    }
}

#[test]
fn every_key_is_known_to_what_explains_it() {
    use clap::Args;
    let command = NodeSettings::augment_args(clap::Command::new("node"));
    for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
        let told = complaint(&format!("{flag} = {{}}"));
        assert!(told.starts_with(&format!("line 1: {flag} must be ")), "{told}");
    }
}

#[test]
fn one_seed_or_origin_needs_no_list() {
    let settings = settings("seed = 'a:1'\norigin = 'root=file:///'");
    assert_eq!((settings.seed, settings.origin), (vec!["a:1".to_owned()], vec!["root=file:///".to_owned()]));
}

#[test]
fn a_flag_that_is_no_setting_is_told_to_be_one() {
    let told = complaint("zone = 'z'\nlog-format = 'json'");
    assert_eq!(told, "line 2: log-format is a flag only: give --log-format on the command line instead");
}

#[test]
fn off_loopback_needs_a_word() {
    for listen in ["10.0.0.1:7070", "[fe80::1]:7070"] {
        let sentence = refusal(&format!("listen = '{listen}'"));
        assert!(sentence.contains("off loopback, which needs TLS, a cluster key and tokens"), "{sentence}");
        assert!(sentence.contains("--insecure"));
        config(&format!("listen = '{listen}'\ninsecure = true"));
    }
    assert!(refusal("gossip = '10.0.0.1:7071'").starts_with("--gossip 10.0.0.1:7071 is off loopback"));
    config("listen = '[::1]:7070'");
}

#[test]
fn tls_is_three_files_or_none() {
    let all = "tls-cert = 'c'\ntls-key = 'k'\ntls-ca = 'a'";
    let files = TlsFiles { cert: "c".into(), key: "k".into(), ca: "a".into() };
    assert_eq!((config(all).tls, config("").tls), (Some(files), None));
    for line in all.lines() {
        assert!(refusal(line).contains("give all three"), "{line}");
        assert!(refusal(&all.replace(line, "")).contains("give all three"), "without {line}");
    }
    assert!(refusal(&format!("{all}\nlisten = '10.0.0.1:7070'")).contains("--insecure"), "TLS lets no fewer people in");
}

#[test]
fn what_is_missing_off_loopback_is_named() {
    let (listen, key, tokens) = ("listen = '10.0.0.1:7070'\n", "cluster-key = 'c'\n", "tokens = 't'\n");
    let tls = "tls-cert = 'c'\ntls-key = 'k'\ntls-ca = 'a'\n";
    let missing = |toml: String| refusal(&toml).split("missing: ").nth(1).unwrap().split(". ").next().unwrap().to_owned();
    let names = ["TLS (--tls-cert, --tls-key, --tls-ca)", "a cluster key (--cluster-key)", "tokens (--tokens)"];
    assert_eq!(missing(listen.to_owned()), names.join(", "));
    assert_eq!(missing(format!("{listen}{tls}")), names[1..].join(", "));
    assert_eq!(missing(format!("{listen}{tls}{key}")), names[2]);
    assert_eq!(missing(format!("{listen}{tls}{tokens}")), names[1]);
    let secure = config(&format!("{listen}{tls}{key}{tokens}"));
    assert!(secure.tokens.unwrap().is_absolute() && !secure.insecure);
}

#[test]
fn tokens_are_not_for_clear_text() {
    assert!(refusal("tokens = 't'").contains("--tokens without TLS"));
    assert!(refusal("tokens = 't'\ncluster-key = 'c'\nlisten = '10.0.0.1:7070'").contains("--tokens without TLS"));
    config("tokens = 't'\ninsecure = true");
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
    assert!(refusal("replicas = 201").contains("--replicas 201 is over the most there can be, 200"));
    assert_eq!(config("replicas = 200").replicas, 200);
    assert!(refusal("weight = 10001").contains("10000"));
    assert!(refusal("rebalance-rate = '1MiB'").starts_with("--rebalance-rate 1.0 MiB is less than a chunk"));
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
    assert!(refusal("native-reads = true").contains("--mount DIR"));
    assert!(refusal("native-reads = true\nallow-other = true\nmount = '/data/n1/mnt'").contains("not for --allow-other"));
    config("data-dir = '/data/n1'\nmount = '/data/n1/mnt'");
}

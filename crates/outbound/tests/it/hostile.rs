use darkroom_outbound::{Guard, MAX_URL_BYTES, Refusal};

/// URLs that lead to this machine, its network or its cloud, in every spelling that some parser takes.
const PRIVATE: &[&str] = &[
    // Loopback.
    "http://127.0.0.1/",
    "https://127.0.0.1:8443/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://127.0.0.1./",
    "http://2130706433/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0177.1/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0x7f.1/",
    "http://0X7F.0.0.01/",
    "http://127.0.0.0x1/",
    "http://00000177.0.0.1/",
    "http:127.0.0.1/",
    "http:/127.0.0.1/",
    "http:////127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http://127.0.0.1\\@shop.example/",
    "http://%31%32%37.0.0.1/",
    "http://\u{ff11}\u{ff12}\u{ff17}.\u{ff10}.\u{ff10}.\u{ff11}/",
    "http://\u{2460}\u{2461}\u{2466}.0.0.1/",
    "http://127\u{3002}0\u{3002}0\u{3002}1/",
    "http://127\u{ff0e}0\u{ff0e}0\u{ff0e}1/",
    "http://localhost/",
    "http://LOCALHOST:5432/",
    "http://localhost./",
    "http://admin.localhost/",
    "http://\u{ff4c}\u{ff4f}\u{ff43}\u{ff41}\u{ff4c}\u{ff48}\u{ff4f}\u{ff53}\u{ff54}/",
    "http://\u{24c1}\u{24de}\u{24d2}\u{24d0}\u{24db}\u{24d7}\u{24de}\u{24e2}\u{24e3}/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[0000::0001]/",
    // This network, which is loopback on many systems.
    "http://0/",
    "http://0.0.0.0:9090/metrics",
    "http://0x0/",
    "http://00/",
    "http://[::]/",
    // Private networks.
    "http://10.0.0.1/",
    "http://10.1/",
    "http://167772161/",
    "http://012.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.168.1/",
    "http://0xc0a80001/",
    "http://3232235521/",
    "http://[fc00::1]/",
    "http://[fd12:3456:789a::1]/",
    "http://[fec0::1]/",
    // Link-local and metadata services.
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.170.2/v2/credentials",
    "http://168.63.129.16/machine",
    "http://192.0.0.192/opc/v2/instance/",
    "http://100.100.100.200/latest/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    // Carrier-grade NAT, benchmarks, documentation, reserved, multicast, broadcast.
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://198.51.100.7/",
    "http://203.0.113.9/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250:1900/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://4294967295/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[100::1]/",
    // IPv4 in IPv6, mapped, compatible and translated.
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:10.0.0.1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
];

/// URLs that are none of the web, or none at all.
const NO_WEB: &[&str] = &[
    "",
    "shop.example",
    "//shop.example/",
    "/hooks",
    "ftp://shop.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "s3://bucket/key",
    "http://",
    "http:///",
    "http://:80/",
    "http://shop.example:99999/",
    "http://256.256.256.256/",
    "http://1.2.3.4.5/",
    "http://0x1ffffffff/",
    "http://[::1/",
    "http://[::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[::ffff:127.0.0.1.]/",
    "http://[v1.fe80::1]/",
    "http://shop.example\r\nHost: 127.0.0.1/",
    "http://127.0.0.1\t/",
    " http://shop.example/",
    "http://shop .example/",
    "http://shop%00.example/",
    "http://shop.exam\u{0}ple/",
];

const WITH_USER: &[&str] = &[
    "http://user@shop.example/",
    "http://user:password@shop.example/",
    "http://:password@shop.example/",
    "https://shop.example@127.0.0.1/",
    "http://127.0.0.1@shop.example/",
    "http://shop.example%40x:y@127.0.0.1/",
];

const FINE: &[&str] = &[
    "https://shop.example/hooks?token=1",
    "http://shop.example:8080/",
    "https://xn--bcher-kva.example/",
    "https://b\u{fc}cher.example/",
    "http://8.8.8.8/",
    "http://134744072/",
    "http://[2606:4700:4700::1111]:8080/x",
    "http://127.0.0.1.nip.example/",
    "http://localhost.shop.example/",
];

fn all_are(urls: &[&str], expected: Refusal) {
    for url in urls {
        assert_eq!(Guard::default().check_url(url).map(|url| url.to_string()), Err(expected), "{url:?}");
    }
}

#[test]
fn urls_to_private_addresses_are_refused_in_every_spelling() {
    assert!(PRIVATE.len() + NO_WEB.len() + WITH_USER.len() >= 60);
    all_are(PRIVATE, Refusal::NotPublic);
}

#[test]
fn what_is_no_url_of_the_web_is_refused() {
    all_are(NO_WEB, Refusal::NotHttp);
}

#[test]
fn credentials_are_refused() {
    all_are(WITH_USER, Refusal::UserInfo);
}

#[test]
fn long_urls_are_refused() {
    let url =
        |bytes: usize| format!("https://shop.example/{}", "x".repeat(bytes - "https://shop.example/".len()));
    assert_eq!(Guard::default().check_url(&url(MAX_URL_BYTES + 1)), Err(Refusal::TooLong));
    assert!(Guard::default().check_url(&url(MAX_URL_BYTES)).is_ok());
}

#[test]
fn public_addresses_and_names_pass() {
    for url in FINE {
        assert!(Guard::default().check_url(url).is_ok(), "{url}");
    }
}

#[test]
fn an_excepted_network_passes_in_every_spelling_and_no_other_does() {
    let guard = Guard::new(vec!["127.0.0.1/32".parse().unwrap()]);
    for url in ["http://127.0.0.1/", "http://0x7f.1/", "http://localhost/"] {
        assert!(guard.check_url(url).is_ok(), "{url}");
    }
    for url in ["http://127.0.0.2/", "http://10.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"] {
        assert_eq!(guard.check_url(url), Err(Refusal::NotPublic), "{url}");
    }
}

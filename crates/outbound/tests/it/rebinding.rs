use std::time::Duration;

use darkroom_outbound::{Error, Refusal};

use crate::stand_in::{NameServer, PRIVATE, PUBLIC, WebServer, client, ok};

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_name_that_changes_its_address_leads_only_where_it_was_checked() {
    let public = WebServer::start(PUBLIC, 0, ok("public")).await;
    let private = WebServer::start(PRIVATE, public.address.port(), ok("private")).await;
    let names = NameServer::start(vec![vec![PUBLIC], vec![PRIVATE]]).await;
    let client = client(names.address);
    let url = format!("http://rebinding.example:{}/", public.address.port());

    client.fetch(&url, WITHIN).await.unwrap();
    assert_eq!(
        (names.questions(), public.requests()),
        (1, 1),
        "the name is resolved once, for the connection"
    );
    let refused = client.fetch(&url, WITHIN).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::NotPublic)), "{refused:?}");
    assert_eq!((names.questions(), public.requests(), private.requests()), (2, 1, 0));
}

#[tokio::test]
async fn a_name_with_a_private_address_among_others_is_refused() {
    let public = WebServer::start(PUBLIC, 0, ok("public")).await;
    let private = WebServer::start(PRIVATE, public.address.port(), ok("private")).await;
    for addresses in [vec![PUBLIC, PRIVATE], vec![PRIVATE, PUBLIC], vec![PRIVATE]] {
        let names = NameServer::start(vec![addresses]).await;
        let url = format!("http://mixed.example:{}/", public.address.port());
        let refused = client(names.address).fetch(&url, WITHIN).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::NotPublic)), "{refused:?}");
    }
    assert_eq!((public.requests(), private.requests()), (0, 0));
}

#[tokio::test]
async fn hostile_names_lead_nowhere() {
    for address in
        ["10.0.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0", "192.168.1.1", "168.63.129.16"]
    {
        let names = NameServer::start(vec![vec![address.parse().unwrap()]]).await;
        for url in ["http://metadata.example/", "https://metadata.example:8443/latest/"] {
            let refused = client(names.address).fetch(url, WITHIN).await.unwrap_err();
            assert!(matches!(refused, Error::Refused(Refusal::NotPublic)), "{address}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_name_without_an_address_is_told_from_one_that_is_refused() {
    let names = NameServer::start(vec![vec![]]).await;
    let failed = client(names.address).fetch("http://nowhere.example/", WITHIN).await.unwrap_err();
    assert!(matches!(failed, Error::Unresolved(_)), "{failed:?}");
}

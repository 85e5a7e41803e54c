use std::time::Duration;

use bytes::BytesMut;
use darkroom_outbound::{Error, MAX_REDIRECTS, Message, Refusal};
use futures_util::TryStreamExt;

use crate::stand_in::{PRIVATE, PUBLIC, WebServer, client_without_names, ok, redirect};

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let private = WebServer::start(PRIVATE, 0, ok("secret")).await;
    for to in [
        private.url(),
        format!("//{}/", private.address),
        format!("http://2130706434:{}/", private.address.port()),
    ] {
        let public = WebServer::start(PUBLIC, 0, redirect(&to)).await;
        let refused = client_without_names().fetch(&public.url(), WITHIN).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::NotPublic)), "{to}: {refused:?}");
    }
    assert_eq!(private.requests(), 0);
}

#[tokio::test]
async fn a_redirect_out_of_the_web_is_refused() {
    for (to, expected) in [
        ("file:///etc/passwd", Refusal::NotHttp),
        ("gopher://127.0.0.1/", Refusal::NotHttp),
        ("http://user:password@127.0.0.1/", Refusal::UserInfo),
    ] {
        let public = WebServer::start(PUBLIC, 0, redirect(to)).await;
        let refused = client_without_names().fetch(&public.url(), WITHIN).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(refusal) if refusal == expected), "{to}: {refused:?}");
    }
}

/// Servers that each send on to the next, the last of which answers.
async fn chain(redirects: usize) -> Vec<WebServer> {
    let mut servers = vec![WebServer::start(PUBLIC, 0, ok("there")).await];
    for _ in 0..redirects {
        let next = servers[servers.len() - 1].url();
        servers.push(WebServer::start(PUBLIC, 0, redirect(&next)).await);
    }
    servers
}

#[tokio::test]
async fn as_many_redirects_are_followed_as_are_allowed() {
    let servers = chain(MAX_REDIRECTS).await;
    let fetched = client_without_names().fetch(&servers[MAX_REDIRECTS].url(), WITHIN).await.unwrap();
    let body: BytesMut = fetched.into_stream().try_collect::<Vec<_>>().await.unwrap().concat()[..].into();
    assert_eq!(&body[..], b"there");

    let servers = chain(MAX_REDIRECTS + 1).await;
    let refused = client_without_names().fetch(&servers[MAX_REDIRECTS + 1].url(), WITHIN).await.unwrap_err();
    assert!(matches!(refused, Error::Redirects), "{refused:?}");
    assert_eq!(servers[0].requests(), 0);
}

#[tokio::test]
async fn a_webhook_follows_no_redirect() {
    let target = WebServer::start(PUBLIC, 0, ok("there")).await;
    let server = WebServer::start(PUBLIC, 0, redirect(&target.url())).await;
    let message = Message { headers: Default::default(), body: "{}".into(), timeout: WITHIN };
    let answer = client_without_names().post(&server.url(), message).await.unwrap();
    assert_eq!((answer.status, target.requests()), (302, 0));
}

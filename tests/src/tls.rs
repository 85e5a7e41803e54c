//! TLS in front of a service, with an authority of its own, as operators have it.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A listener on loopback that speaks TLS and hands every connection on, in clear, to one server.
#[derive(Debug)]
pub struct TlsFront {
    port: u16,
    authority: String,
    server: watch::Sender<Option<String>>,
    _listening: JoinSet<()>,
}

impl TlsFront {
    /// A front without a server: its address is needed before there is one.
    ///
    /// # Panics
    /// When loopback or the system's randomness is not there.
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With one name for both, the certificate would pass for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let own = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&own, &authority).expect("a certificate");
        let config = config(certificate.der().clone(), PrivateKeyDer::Pkcs8(own.serialize_der().into()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let port = listener.local_addr().expect("it is bound").port();
        let (server, servers) = watch::channel(None);
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, TlsAcceptor::from(Arc::new(config)), servers));
        Self { port, authority: authority.pem(), server, _listening: listening }
    }

    /// Hands connections on to `server`, from now on and those that wait.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(Some(server.to_string()));
    }

    /// Where it listens, as `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The certificate of the authority, which clients have to trust, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

fn config(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> ServerConfig {
    let config = ServerConfig::builder().with_no_client_auth();
    config.with_single_cert(vec![certificate], key).expect("the key is the certificate's")
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, servers: watch::Receiver<Option<String>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, mut servers) = (acceptor.clone(), servers.clone());
        connections.spawn(async move {
            let server = servers.wait_for(Option::is_some).await.ok().and_then(|server| server.clone());
            let mut client = acceptor.accept(stream).await.ok()?;
            let mut server = TcpStream::connect(server?).await.ok()?;
            copy_bidirectional(&mut client, &mut server).await.ok()
        });
        while connections.try_join_next().is_some() {}
    }
}

//! A connection whose end is always noticed.

use std::{
    io,
    net::Shutdown,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use lapin::{
    Channel, Connection, ConnectionProperties, ErrorKind, Event,
    tcp::{AsyncTcpStream, TLSConfig},
    uri::{AMQPScheme, AMQPUri},
};
use tokio::{
    net::TcpStream,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

/// To connect, TLS and the AMQP handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the broker to answer a request on a channel.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// For the broker to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a connection is looked at in case its end came without an event.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Why the broker did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("the broker refused the login of AMQP_URL, user `{0}` at its virtual host")]
    Login(String),
    #[error("no answer from the broker in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("invalid AMQP_URL: {0}")]
    Url(String),
    #[error("no connection to the broker")]
    Absent,
    #[error("the broker takes no messages")]
    Blocked,
    #[error("stopped")]
    Stopped,
}

/// A connection to the broker, without lapin's own recovery: whoever holds a link builds the next one.
pub(crate) struct Link {
    connection: Connection,
    socket: Socket,
}

impl Link {
    /// Connects, within five seconds. `name` is what operators see at the broker.
    pub(crate) async fn connect(uri: AMQPUri, name: &'static str) -> Result<Self, LinkError> {
        let socket = Socket::default();
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime()?;
        let opened = socket.clone();
        let user = uri.authority.userinfo.username.clone();
        let connecting = Connection::connector(
            uri,
            runtime,
            async move |uri, runtime| {
                let address = (uri.authority.host.as_str(), uri.authority.port);
                let connect = async {
                    let addresses: Vec<_> = tokio::net::lookup_host(address).await?.collect();
                    let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                    if let AsyncTcpStream::Plain(stream) = &stream {
                        opened.keep(stream.get_ref())?;
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, TLSConfig::default()).await,
                    }
                };
                // lapin runs this on a thread of its own, which would outlive the time-out below.
                Ok(timeout(CONNECT_TIMEOUT, connect).await.map_err(io::Error::from)??)
            },
            properties,
        );
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(Self { connection, socket }),
            Ok(Err(error)) if is_refused_login(&error) => Err(LinkError::Login(user)),
            Ok(Err(error)) => Err(error.into()),
            Err(elapsed) => {
                socket.sever();
                Err(elapsed.into())
            }
        }
    }

    /// Opens a channel. A connection that does not answer is severed.
    pub(crate) async fn channel(&self) -> Result<Channel, LinkError> {
        let channel = self.answer(self.connection.create_channel()).await?;
        Ok(channel)
    }

    /// Waits for the broker's answer. A connection that does not answer is severed, unless the broker has
    /// blocked it, in which case it will answer some day.
    pub(crate) async fn answer<T>(
        &self,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, LinkError> {
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => Ok(answer?),
            Err(elapsed) => {
                self.sever_unless_blocked();
                Err(elapsed.into())
            }
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// The broker is short of memory or disk and takes no messages.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    pub(crate) fn sever_unless_blocked(&self) {
        if !self.is_blocked() {
            self.socket.sever();
        }
    }

    /// Waits for the connection to end, or for `stop`.
    pub(crate) async fn ended(&self, stop: &CancellationToken) {
        let mut events = Box::pin(self.connection.events_listener());
        let mut looks = interval(WATCH_PERIOD);
        while self.is_connected() {
            tokio::select! {
                () = stop.cancelled() => return,
                event = next(&mut events) => log(&event),
                _ = looks.tick() => {}
            }
        }
    }

    /// Ends the connection in good order, or else in bad.
    pub(crate) async fn close(&self) {
        if self.is_connected() {
            let closed = timeout(CLOSE_TIMEOUT, self.connection.close(200, "bye".into())).await;
            if !matches!(closed, Ok(Ok(()))) {
                self.socket.sever();
            }
        }
    }
}

/// Whether the broker knows neither user nor password, or not the virtual host.
fn is_refused_login(error: &lapin::Error) -> bool {
    const ACCESS_REFUSED: u16 = 403;
    const NOT_ALLOWED: u16 = 530;
    matches!(error.kind(), ErrorKind::ProtocolError(error) if [ACCESS_REFUSED, NOT_ALLOWED].contains(&error.get_id()))
}

async fn next(events: &mut (impl Stream<Item = Event> + Unpin)) -> Event {
    match events.next().await {
        Some(event) => event,
        // No more events, which is not the end of the connection.
        None => std::future::pending().await,
    }
}

fn log(event: &Event) {
    match event {
        Event::ConnectionBlocked(reason) => tracing::warn!(reason, "broker takes no messages"),
        Event::ConnectionUnblocked => tracing::info!("broker takes messages again"),
        Event::Error(error) => tracing::debug!(%error, "error on broker connection"),
        _ => {}
    }
}

/// A second handle on a connection's socket. A broker that stops answering, in the handshake above all, keeps
/// lapin's thread for the connection waiting for ever; shutting the socket down ends it.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<std::net::TcpStream>>>);

impl Socket {
    fn keep(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        Ok(())
    }

    fn sever(&self) {
        if let Some(socket) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Fails only where the connection has already ended.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

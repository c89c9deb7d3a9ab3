//! A peer that is played: a test says what its methods answer, and how its calls go wrong.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use prost::Message;
use server::Peer;
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// A peer whose methods are functions of its books (`B`), whatever a test wants to keep there. Methods go by their names,
/// such as `Reserve`. Clones are the same peer.
pub struct Fake<B> {
    inner: Arc<Inner<B>>,
}

struct Inner<B> {
    books: Mutex<B>,
    methods: Mutex<HashMap<&'static str, Handler<B>>>,
    door: Mutex<Door>,
}

type Handler<B> =
    Arc<dyn Fn(Fake<B>, http::Request<Body>) -> BoxFuture<'static, http::Response<Body>> + Send + Sync>;

/// What came, and what is to go wrong.
#[derive(Default)]
struct Door {
    calls: Vec<Call>,
    faults: HashMap<&'static str, VecDeque<Fault>>,
    is_down: bool,
    is_silent: bool,
}

struct Call {
    method: &'static str,
    request: Vec<u8>,
    is_done: bool,
}

/// How one call goes wrong.
enum Fault {
    /// It has no effect.
    Refused(Status),
    /// It takes effect, and its caller does not hear so.
    AnswerLost,
    /// It waits before it takes effect.
    Paused(Pause),
    /// It takes effect, and its caller waits.
    AnswerPaused(Pause),
}

/// A call that waits: it says so, and goes on when the test says so.
#[derive(Debug, Clone, Default)]
pub struct Pause {
    reached: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Pause {
    /// Waits for the call that waits.
    pub async fn reached(&self) {
        crate::soon(self.reached.notified()).await;
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.go_on.notify_one();
    }

    async fn hold(&self) {
        self.reached.notify_one();
        self.go_on.notified().await;
    }
}

impl<B> Clone for Fake<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<B: Send + 'static> Fake<B> {
    /// A peer without methods.
    pub fn new(books: B) -> Self {
        let (books, methods, door) = (Mutex::new(books), Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { books, methods, door }) }
    }

    /// The same with a method that gives one answer.
    #[must_use]
    pub fn answers<Q, A>(
        self,
        method: &'static str,
        answer: impl Fn(&mut B, &Q) -> Result<A, Status> + Send + Sync + 'static,
    ) -> Self
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let answer = Arc::new(answer);
        self.on(method, move |fake, request| {
            let answer = Arc::clone(&answer);
            let once = tower::service_fn(move |request: Request<Q>| {
                let (fake, answer) = (fake.clone(), Arc::clone(&answer));
                async move { Ok(Response::new(fake.play(method, &request.into_inner(), &*answer).await?)) }
            });
            Box::pin(async move { grpc::<Q, A>().unary(once, request).await })
        })
    }

    /// The same with a method that gives a stream of answers.
    #[must_use]
    pub fn streams<Q, A>(
        self,
        method: &'static str,
        answers: impl Fn(&mut B, &Q) -> Result<Vec<A>, Status> + Send + Sync + 'static,
    ) -> Self
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let answers = Arc::new(answers);
        self.on(method, move |fake, request| {
            let answers = Arc::clone(&answers);
            let once = tower::service_fn(move |request: Request<Q>| {
                let (fake, answers) = (fake.clone(), Arc::clone(&answers));
                async move {
                    let all = fake.play(method, &request.into_inner(), &*answers).await?;
                    let is_silent = fake.door().is_silent;
                    let all: BoxStream<'static, Result<A, Status>> =
                        if is_silent { stream::pending().boxed() } else { stream::iter(all).map(Ok).boxed() };
                    Ok(Response::new(all))
                }
            });
            Box::pin(async move { grpc::<Q, A>().server_streaming(once, request).await })
        })
    }

    fn on(
        self,
        method: &'static str,
        handler: impl Fn(Self, http::Request<Body>) -> BoxFuture<'static, http::Response<Body>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.inner.methods.lock().unwrap().insert(method, Arc::new(handler));
        self
    }

    async fn play<Q: Message, A>(
        &self,
        method: &'static str,
        request: &Q,
        answer: &(impl Fn(&mut B, &Q) -> Result<A, Status> + Sync),
    ) -> Result<A, Status> {
        tokio::task::yield_now().await;
        let (number, pause) = self.door().enter(method, request.encode_to_vec())?;
        if let Some(pause) = pause {
            pause.hold().await;
        }
        let answer = answer(&mut self.books(), request)?;
        let pause = self.door().leave(number)?;
        if let Some(pause) = pause {
            pause.hold().await;
        }
        Ok(answer)
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.inner.door.lock().unwrap()
    }

    /// What the peer keeps.
    pub fn books(&self) -> MutexGuard<'_, B> {
        self.inner.books.lock().unwrap()
    }

    /// The peer, for its callers.
    pub fn peer(&self) -> Peer {
        server::peer::local(self.clone())
    }

    /// Whether no call reaches it.
    pub fn go_down(&self, is_down: bool) {
        self.door().is_down = is_down;
    }

    /// From now on its streams begin, and nothing comes of them.
    pub fn go_silent(&self) {
        self.door().is_silent = true;
    }

    /// The next `count` calls of a method are refused. Faults of a method happen one after the other.
    pub fn refuse(&self, method: &'static str, count: usize, status: &Status) {
        self.plan(method, (0..count).map(|_| Fault::Refused(status.clone())));
    }

    /// The next `count` calls of a method that take effect seem to fail.
    pub fn lose_answers(&self, method: &'static str, count: usize) {
        self.plan(method, (0..count).map(|_| Fault::AnswerLost));
    }

    /// The next call of a method waits before it takes effect.
    pub fn pause(&self, method: &'static str) -> Pause {
        let pause = Pause::default();
        self.plan(method, [Fault::Paused(pause.clone())]);
        pause
    }

    /// The next call of a method that takes effect waits with its answer.
    pub fn pause_answer(&self, method: &'static str) -> Pause {
        let pause = Pause::default();
        self.plan(method, [Fault::AnswerPaused(pause.clone())]);
        pause
    }

    fn plan(&self, method: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.door().faults.entry(method).or_default().extend(faults);
    }

    /// How often a method was called, also in vain.
    pub fn calls(&self, method: &str) -> usize {
        self.door().calls.iter().filter(|call| call.method == method).count()
    }

    /// The requests to a method that took effect, in their order.
    pub fn done<Q: Message + Default>(&self, method: &str) -> Vec<Q> {
        let door = self.door();
        let done = door.calls.iter().filter(|call| call.is_done && call.method == method);
        done.map(|call| Q::decode(call.request.as_slice()).unwrap()).collect()
    }
}

impl Door {
    /// A call begins: its number, and what it waits for.
    fn enter(&mut self, method: &'static str, request: Vec<u8>) -> Result<(usize, Option<Pause>), Status> {
        let number = self.calls.len();
        self.calls.push(Call { method, request, is_done: false });
        if self.is_down {
            return Err(Status::unavailable("down"));
        }
        let faults = self.faults.entry(method).or_default();
        match faults.pop_front_if(|fault| matches!(fault, Fault::Refused(_) | Fault::Paused(_))) {
            Some(Fault::Refused(status)) => Err(status),
            Some(Fault::Paused(pause)) => Ok((number, Some(pause))),
            _ => Ok((number, None)),
        }
    }

    /// A call has taken effect: what its answer waits for.
    fn leave(&mut self, number: usize) -> Result<Option<Pause>, Status> {
        let call = &mut self.calls[number];
        call.is_done = true;
        let faults = self.faults.entry(call.method).or_default();
        match faults.pop_front_if(|fault| matches!(fault, Fault::AnswerLost | Fault::AnswerPaused(_))) {
            Some(Fault::AnswerLost) => Err(Status::unavailable("the answer was lost")),
            Some(Fault::AnswerPaused(pause)) => Ok(Some(pause)),
            _ => Ok(None),
        }
    }
}

fn grpc<Q, A>() -> tonic::server::Grpc<ProstCodec<A, Q>>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    tonic::server::Grpc::new(ProstCodec::default()).max_decoding_message_size(server::MESSAGE_LIMIT)
}

impl<B: Send + 'static> tower::Service<http::Request<Body>> for Fake<B> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let handler = self.inner.methods.lock().unwrap().get(method).cloned();
        let Some(handler) = handler else {
            let nobody = Status::unimplemented(format!("no test says what {method} answers")).into_http();
            return Box::pin(async move { Ok(nobody) });
        };
        let answer = handler(self.clone(), request);
        Box::pin(async move { Ok(answer.await) })
    }
}

//! The protocol under random interleavings of its calls, on a store in memory: without network, clock or runtime.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

const STALE: Duration = Duration::from_secs(600);

/// The objects, the store's clock in seconds, and what was published.
#[derive(Default)]
struct World {
    objects: RefCell<HashMap<String, (i64, String, u64)>>,
    generation: Cell<i64>,
    now: Cell<u64>,
    /// In how many calls from now a response is lost and the call is made again.
    lost: Cell<usize>,
    published: Cell<usize>,
    /// Processes that are between publish and completion.
    published_only: Cell<usize>,
}

/// One process's view of the store.
#[derive(Clone)]
struct Memory(Rc<World>);

/// Lets the simulation run another process.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|_| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl World {
    fn is_done(&self) -> bool {
        self.objects.borrow().contains_key("done")
    }

    fn write(&self, name: &str, over: i64, claim: &str) -> Option<i64> {
        let mut objects = self.objects.borrow_mut();
        if objects.get(name).map_or(0, |(generation, ..)| *generation) != over {
            return None;
        }
        self.generation.set(self.generation.get() + 1);
        objects.insert(name.to_owned(), (self.generation.get(), claim.to_owned(), self.now.get()));
        Some(self.generation.get())
    }

    fn is_lost(&self) -> bool {
        self.lost.set(self.lost.get().wrapping_sub(1));
        self.lost.get() == 0
    }
}

impl Store for Memory {
    async fn write(&self, name: &str, over: i64, claim: &str, _: Bytes) -> Result<Option<i64>, StoreError> {
        yield_now().await;
        let mut written = self.0.write(name, over, claim);
        if self.0.is_lost() {
            yield_now().await;
            written = self.0.write(name, over, claim);
        }
        yield_now().await;
        Ok(written)
    }

    async fn read(&self, name: &str) -> Result<Option<Found>, StoreError> {
        yield_now().await;
        let found = self.0.objects.borrow().get(name).map(|(generation, claim, written)| Found {
            generation: *generation,
            claim: claim.clone(),
            age: Duration::from_secs(self.0.now.get() - written),
        });
        yield_now().await;
        Ok(found)
    }

    async fn delete(&self, name: &str, generation: i64) -> Result<(), StoreError> {
        yield_now().await;
        self.0.objects.borrow_mut().retain(|other, found| other != name || found.0 != generation);
        yield_now().await;
        Ok(())
    }
}

struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(cell: &'a Cell<usize>) -> Self {
        cell.set(cell.get() + 1);
        Self(cell)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One delivery, as a `WorkPermit` handles it; `fails` is work that ends without a result. Returns whether the
/// message is acknowledged.
async fn deliver(world: Rc<World>, id: String, fails: bool) -> bool {
    let store = Memory(Rc::clone(&world));
    let names = Names { claim: "claim".to_owned(), done: "done".to_owned() };
    let done_before = world.is_done();
    match claim(&store, &names, &id, &Bytes::new(), STALE).await.unwrap() {
        Claimed::Done => true,
        Claimed::Busy(after) => {
            assert!(after >= Duration::from_secs(1) && after <= STALE);
            false
        }
        Claimed::Ours { generation, taken_over } => {
            assert!(!done_before, "the work of a message that is done was begun again");
            yield_now().await;
            if fails {
                if !taken_over {
                    store.delete(&names.claim, generation).await.unwrap();
                }
                return false;
            }
            world.published.set(world.published.get() + 1);
            let _published_only = Counted::new(&world.published_only);
            yield_now().await;
            complete(&store, &names, &id, Bytes::new()).await.unwrap();
            true
        }
    }
}

type Delivery = Pin<Box<dyn Future<Output = bool>>>;

#[derive(Clone, Debug)]
enum Step {
    /// A process runs until its next call.
    Poll(prop::sample::Index),
    /// A process is killed.
    Kill(prop::sample::Index),
    /// Claims of killed processes become stale.
    Wait,
    /// The response of one of the next calls is lost.
    Lose(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        40 => any::<prop::sample::Index>().prop_map(Step::Poll),
        3 => any::<prop::sample::Index>().prop_map(Step::Kill),
        4 => Just(Step::Wait),
        1 => (1_usize..6).prop_map(Step::Lose),
    ];
    prop::collection::vec(step, 0..200)
}

/// Runs deliveries in this order of steps and then to their end; with `slow` time passes for the process that works,
/// too. Returns the world, and how many processes were killed between publish and completion.
fn simulate(deliveries: &[bool], steps: &[Step], slow: bool) -> (Rc<World>, usize) {
    let world = Rc::new(World::default());
    let mut left: Vec<(String, Delivery)> = Vec::new();
    for (n, fails) in deliveries.iter().enumerate() {
        left.push((n.to_string(), Box::pin(deliver(Rc::clone(&world), n.to_string(), *fails))));
    }
    let mut context = Context::from_waker(Waker::noop());
    let mut killed = 0;
    for step in steps {
        match step {
            _ if left.is_empty() => break,
            Step::Poll(index) => {
                let at = index.index(left.len());
                if left[at].1.as_mut().poll(&mut context).is_ready() {
                    drop(left.remove(at));
                }
            }
            Step::Kill(index) => {
                let before = world.published_only.get();
                drop(left.remove(index.index(left.len())));
                killed += before - world.published_only.get();
            }
            Step::Wait => {
                let objects = world.objects.borrow();
                let holder = objects.get("claim").map(|(_, claim, _)| claim);
                if slow || !left.iter().any(|(id, _)| Some(id) == holder) {
                    world.now.set(world.now.get() + STALE.as_secs() + 1);
                }
            }
            Step::Lose(calls) => world.lost.set(*calls),
        }
    }
    for (_, mut delivery) in left {
        while delivery.as_mut().poll(&mut context).is_pending() {}
    }
    (world, killed)
}

/// One more delivery, alone.
fn again(world: &Rc<World>) -> bool {
    let mut delivery = Box::pin(deliver(Rc::clone(world), "again".to_owned(), false));
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(acknowledged) = delivery.as_mut().poll(&mut context) {
            return acknowledged;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whichever processes die or fail: at most one result is published for each process that died between publish and
    /// completion, and one more; and a message that is redelivered once claims are stale is done.
    #[test]
    fn one_result_and_none_lost(deliveries in prop::collection::vec(any::<bool>(), 1..9), steps in steps()) {
        let (world, killed) = simulate(&deliveries, &steps, false);
        prop_assert!(world.published.get() <= 1 + killed, "{} published, {killed} killed", world.published.get());
        world.now.set(world.now.get() + STALE.as_secs() + 1);
        prop_assert!(again(&world));
        prop_assert!(world.is_done());
        prop_assert!((1..=1 + killed).contains(&world.published.get()));
        // And is not done again, however late a duplicate comes.
        let published = world.published.get();
        world.now.set(world.now.get() + 10 * STALE.as_secs());
        prop_assert!(again(&world));
        prop_assert_eq!(world.published.get(), published);
    }

    /// Even if work outlasts its claim, work that is done is not begun again: `deliver` asserts it.
    #[test]
    fn what_is_done_stays_done(deliveries in prop::collection::vec(any::<bool>(), 1..9), steps in steps()) {
        let (world, _) = simulate(&deliveries, &steps, true);
        world.now.set(world.now.get() + STALE.as_secs() + 1);
        prop_assert!(again(&world));
    }

    #[test]
    fn a_claim_is_waited_for_while_it_is_fresh_and_no_longer(age in 0_u64..2000) {
        let found = Found { generation: 1, claim: "other".into(), age: Duration::from_secs(age) };
        match found.state("own", STALE) {
            ClaimState::Stale => prop_assert!(found.age > STALE),
            ClaimState::Fresh(after) => {
                prop_assert!(found.age <= STALE);
                prop_assert!(after >= Duration::from_secs(1) && after <= Duration::from_secs(30));
            }
            ClaimState::Ours => prop_assert!(false),
        }
        prop_assert_eq!(found.state("other", STALE), ClaimState::Ours);
    }
}

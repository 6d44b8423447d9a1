//! What may happen to a grid, in any order. Things are picked by numbers that wrap around what there is, so that a
//! sequence stays legal while it is made shorter.

use proptest::prelude::*;

/// Who submits what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submit {
    /// Which of the two accounts.
    pub(crate) account: usize,
    /// Which of the account's two batches.
    pub(crate) batch: Option<usize>,
    pub(crate) priority: i16,
    pub(crate) retries: u32,
    /// Exit code 7 is tried again.
    pub(crate) retry_on: bool,
    /// The input that it names.
    pub(crate) blob: Option<u8>,
}

/// What a runner says of how an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Done,
    Seven,
    One,
    TimedOut,
    Cancelled,
}

impl Said {
    pub(crate) const ALL: [Self; 5] = [Self::Done, Self::Seven, Self::One, Self::TimedOut, Self::Cancelled];
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A submission, with the number of its idempotency key.
    Submit {
        submit: Submit,
        key: Option<u8>,
    },
    /// Bytes of an input arrive; the last of them, or not yet.
    Upload {
        account: usize,
        blob: u8,
        commit: bool,
    },
    /// Workers poll. `answer` is false when the answer is lost on its way.
    Claim {
        polls: Vec<(usize, u32)>,
        answer: bool,
    },
    /// A worker names some of what it holds or held, by the bits of `mask`.
    Heartbeat {
        worker: usize,
        mask: u16,
    },
    /// An attempt begins, also one that is not current.
    Start {
        attempt: usize,
    },
    /// An attempt pushes so many bytes, and before them some that it had pushed.
    Log {
        attempt: usize,
        bytes: usize,
        again: usize,
    },
    /// An attempt ends, with so many more bytes of log than it pushed.
    Finish {
        attempt: usize,
        said: Said,
        unpushed: u64,
    },
    HandBack {
        attempt: usize,
    },
    /// Somebody cancels, of the owner's account or of the other one.
    Cancel {
        execution: usize,
        stranger: bool,
    },
    /// The orchestrator takes away what is overdue, or tries to with what is not.
    Round {
        leader: Leader,
    },
    Requeue {
        leader: Leader,
        attempt: usize,
        unnamed: bool,
    },
    MarkDead {
        leader: Leader,
        worker: usize,
        seen: bool,
    },
    Exited {
        leader: Leader,
        worker: usize,
    },
    Drain {
        leader: Leader,
        worker: usize,
    },
    Terminate {
        leader: Leader,
        worker: usize,
    },
    Gone {
        leader: Leader,
        worker: usize,
    },
    ExpirePending {
        leader: Leader,
    },
    Resign {
        holder: usize,
    },
    Join,
    /// What runs is carried into the next generation.
    Carry,
    /// The lanes that wait are carried into the next generation.
    CarryWaiting,
    /// Time passes, with the API's beats or without them.
    Tick {
        seconds: i64,
        beats: bool,
    },
    /// A replica dies while it is at work, after so many of its waits.
    Crash {
        during: Box<Self>,
        waits: u32,
    },
}

/// Which orchestrator acts, and whether it renews its term before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leader {
    pub(crate) holder: usize,
    pub(crate) renews: bool,
}

fn leader() -> impl Strategy<Value = Leader> {
    (prop_oneof![5 => Just(0usize), 1 => Just(1)], prop_oneof![5 => Just(true), 1 => Just(false)])
        .prop_map(|(holder, renews)| Leader { holder, renews })
}

fn submit() -> impl Strategy<Value = Step> {
    let submit = (
        0..2usize,
        prop::option::of(0..2usize),
        0..2i16,
        0..2u32,
        any::<bool>(),
        prop::option::weighted(0.3, 0..2u8),
    );
    (submit, prop::option::weighted(0.3, 0..3u8)).prop_map(
        |((account, batch, priority, retries, retry_on, blob), key)| Step::Submit {
            submit: Submit { account, batch, priority, retries, retry_on, blob },
            key,
        },
    )
}

fn claim() -> impl Strategy<Value = Step> {
    let polls = prop::collection::vec((0..8usize, 1..4u32), 1..4);
    (polls, prop_oneof![6 => Just(true), 1 => Just(false)])
        .prop_map(|(polls, answer)| Step::Claim { polls, answer })
}

fn finish() -> impl Strategy<Value = Step> {
    let said = prop_oneof![
        4 => Just(Said::Done), 3 => Just(Said::Seven), 1 => Just(Said::One), 1 => Just(Said::TimedOut),
        1 => Just(Said::Cancelled)
    ];
    (any::<usize>(), said, prop_oneof![8 => Just(0u64), 1 => Just(1)])
        .prop_map(|(attempt, said, unpushed)| Step::Finish { attempt, said, unpushed })
}

fn crash() -> impl Strategy<Value = Step> {
    let during = prop_oneof![
        2 => submit(), 4 => claim(), 3 => finish(), 1 => Just(Step::Carry), 1 => Just(Step::CarryWaiting),
        2 => any::<usize>().prop_map(|attempt| Step::HandBack { attempt }),
        2 => any::<usize>().prop_map(|execution| Step::Cancel { execution, stranger: false }),
        1 => any::<(usize, usize)>()
            .prop_map(|(attempt, bytes)| Step::Log { attempt, bytes: bytes % 9, again: 0 }),
    ];
    (during, 1..24u32).prop_map(|(during, waits)| Step::Crash { during: Box::new(during), waits })
}

/// One step. What makes others possible comes more often.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let pick = any::<usize>;
    prop_oneof![
        8 => submit(),
        3 => (0..2usize, 0..2u8, any::<bool>())
            .prop_map(|(account, blob, commit)| Step::Upload { account, blob, commit }),
        9 => claim(),
        6 => (pick(), any::<u16>()).prop_map(|(worker, mask)| Step::Heartbeat { worker, mask }),
        2 => pick().prop_map(|attempt| Step::Start { attempt }),
        3 => (pick(), 0..9usize, 0..3usize)
            .prop_map(|(attempt, bytes, again)| Step::Log { attempt, bytes, again }),
        8 => finish(),
        3 => pick().prop_map(|attempt| Step::HandBack { attempt }),
        3 => (pick(), prop_oneof![4 => Just(false), 1 => Just(true)])
            .prop_map(|(execution, stranger)| Step::Cancel { execution, stranger }),
        5 => leader().prop_map(|leader| Step::Round { leader }),
        3 => (leader(), pick(), any::<bool>())
            .prop_map(|(leader, attempt, unnamed)| Step::Requeue { leader, attempt, unnamed }),
        2 => (leader(), pick(), any::<bool>())
            .prop_map(|(leader, worker, seen)| Step::MarkDead { leader, worker, seen }),
        1 => (leader(), pick()).prop_map(|(leader, worker)| Step::Exited { leader, worker }),
        1 => (leader(), pick()).prop_map(|(leader, worker)| Step::Drain { leader, worker }),
        2 => (leader(), pick()).prop_map(|(leader, worker)| Step::Terminate { leader, worker }),
        1 => (leader(), pick()).prop_map(|(leader, worker)| Step::Gone { leader, worker }),
        1 => leader().prop_map(|leader| Step::ExpirePending { leader }),
        1 => (0..2usize).prop_map(|holder| Step::Resign { holder }),
        2 => Just(Step::Join),
        2 => Just(Step::Carry),
        2 => Just(Step::CarryWaiting),
        8 => (prop::sample::select(vec![1i64, 3, 4, 9, 12, 21, 26, 3601]), prop_oneof![4 => Just(true), 1 => Just(false)])
            .prop_map(|(seconds, beats)| Step::Tick { seconds, beats }),
        4 => crash(),
    ]
}

//! Writing back what this node knows and the server does not: after a load, and what the store did not acknowledge.
//!
//! Nothing that is there is overwritten, shortened or lowered, so all nodes may do it at once. What is provisional is
//! never written: nobody knows what it was.

use super::{
    cutoffs::Behind,
    keeper::{BATCH, On},
    line::{Answer, Ask, Failed, Line},
    set::{FOREVER, Held, Set},
};

impl<L: Line> On<'_, L> {
    /// Writes what this node knows and the load did not find; false if the server did not take all of it.
    pub(super) async fn heal(&self) -> Result<bool, Failed> {
        let (load, mut whole) = (self.replica.load(), true);
        for part in 0..Set::PARTS {
            let now = self.replica.lease.now_ms();
            let lost = self.replica.set.lost_by_server(part, load, now);
            for held in lost.chunks(BATCH) {
                whole &= self.write(part, held).await?;
            }
        }
        Ok(whole & self.pay().await?)
    }

    async fn write(&self, part: usize, held: &[Held]) -> Result<bool, Failed> {
        let list = Set::list_of(part);
        let now = self.replica.lease.now_ms();
        let asks = held.iter().flat_map(|(id, until)| {
            let key = self.replica.names.listed(list, id);
            let left = (*until != FOREVER).then(|| until.saturating_sub(now).max(1));
            // A key that is there and ends too early is lost as well, only later.
            let extend = Ask::Extend {
                key: key.clone(),
                left,
            };
            [Ask::SetMissing { key, left }, extend]
        });
        let answers = self.ask(asks.collect()).await?;
        let (mut written, mut whole) = (0, true);
        for ((id, _), answer) in held.iter().zip(answers.iter().step_by(2)) {
            match answer {
                Answer::No => whole = false,
                answer => {
                    written += u64::from(matches!(answer, Answer::Done(true)));
                    self.replica
                        .set
                        .held_by_server(list, id, self.replica.load());
                }
            }
        }
        self.replica.healed(written);
        Ok(whole)
    }

    /// Makes good what the store did not acknowledge; false if the server did not take all of it. Nothing is lost then:
    /// a debt is also an entry that the server was not seen to hold.
    pub(super) async fn pay(&self) -> Result<bool, Failed> {
        let mut whole = true;
        for (list, id) in self.replica.take_debts() {
            if let Some(until) = self.replica.set.until(list, &id) {
                whole &= self.write(Set::first_part(list), &[(id, until)]).await?;
            }
        }
        let now = self.replica.lease.now_ms();
        for behind in self.replica.cutoffs.behind(now) {
            whole &= self.raise(behind, now).await?;
        }
        Ok(whole)
    }

    async fn raise(&self, behind: Behind, now: u64) -> Result<bool, Failed> {
        let ask = Ask::Raise {
            key: self.replica.names.cutoff(behind.scope),
            moment: behind.moment,
            left: (behind.until != FOREVER).then(|| behind.until.saturating_sub(now).max(1)),
        };
        let answer = self.ask(vec![ask]).await?.pop();
        let Some(Answer::Number(was_behind)) = answer else {
            return Ok(false);
        };
        self.replica.healed(u64::from(was_behind > 0));
        self.replica
            .cutoffs
            .held_by_server(behind.scope, behind.moment, self.replica.load());
        Ok(true)
    }
}

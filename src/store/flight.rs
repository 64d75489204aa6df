//! One pipeline on its way, and who waits for which of its replies.
//!
//! What everybody asks about is asked once: all callers handed it in before the pipeline is written, so that the answer is
//! as new as each of them may expect.

use redis::{Pipeline, RedisError, Value};
use tokio::sync::oneshot;

use super::{
    Few, Key,
    redis::{Command, Failed},
};

pub(super) type Answer = Result<Few<Value>, Failed>;

/// What one caller asks. The caller has gone when the receiver of the answer has.
pub(super) struct Parcel {
    pub(super) commands: Few<Command>,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Parcel {
    pub(super) fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    pub(super) fn bytes(&self) -> usize {
        self.commands.iter().map(Command::bytes).sum()
    }
}

pub(super) struct Flight {
    pub(super) pipeline: Pipeline,
    /// How many commands the pipeline has.
    pub(super) count: usize,
    callers: Vec<(Few<Place>, oneshot::Sender<Answer>)>,
}

/// Where in the pipeline the reply to a command comes.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// Others may wait for the same one.
    common: bool,
}

/// A plain read that is in the pipeline already, and where.
type Asked = (&'static str, Key, usize);

impl Flight {
    pub(super) fn load(parcels: Vec<Parcel>) -> Self {
        let most = parcels.iter().map(|parcel| parcel.commands.len()).sum();
        let mut flight = Self {
            pipeline: Pipeline::with_capacity(most),
            count: 0,
            callers: Vec::with_capacity(parcels.len()),
        };
        let mut asked = Vec::new();
        for parcel in parcels {
            let commands = parcel.commands.into_iter();
            let places = commands.map(|command| flight.add(command, &mut asked));
            let places = places.collect();
            flight.callers.push((places, parcel.answer));
        }
        flight
    }

    fn add(&mut self, command: Command, asked: &mut Vec<Asked>) -> Place {
        let mut place = Place {
            at: self.count,
            common: false,
        };
        if let Command::Common(name, key) = &command {
            place.common = true;
            let known = asked
                .iter()
                .find(|known| (known.0, &known.1) == (*name, key));
            if let Some((_, _, at)) = known {
                place.at = *at;
                return place;
            }
            asked.push((*name, key.clone(), place.at));
        }
        self.pipeline.add_command(command.into_cmd());
        self.count += 1;
        place
    }

    /// Hands the replies out, which are as many as the commands.
    pub(super) fn deal(self, mut replies: Vec<Value>) {
        let mut reply = |place: Place| match replies.get_mut(place.at) {
            Some(reply) if place.common => reply.clone(),
            Some(reply) => std::mem::replace(reply, Value::Nil),
            None => Value::Nil,
        };
        for (places, answer) in self.callers {
            // Who has gone away does not want it.
            let _ = answer.send(Ok(places.into_iter().map(&mut reply).collect()));
        }
    }

    pub(super) fn fail(self, error: &RedisError) {
        for (_, answer) in self.callers {
            let _ = answer.send(Err(error.clone().into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn common(key: &str) -> Command {
        Command::Common("GET", key.to_owned())
    }

    fn own(text: &str) -> Command {
        Command::Own(redis::cmd(text))
    }

    /// Fails if: it is sent twice, two different ones get one answer, or a caller gets what another asked for.
    #[test]
    fn what_all_ask_about_is_asked_once() {
        let asks = [
            vec![own("A"), common("x"), own("B")],
            vec![common("x")],
            vec![common("y"), own("A"), common("x")],
        ];
        let (mut parcels, mut waits) = (Vec::new(), Vec::new());
        for commands in asks {
            let (answer, reply) = oneshot::channel();
            let commands = commands.into_iter().collect();
            parcels.push(Parcel { commands, answer });
            waits.push(reply);
        }
        let flight = Flight::load(parcels);
        assert_eq!((flight.count, flight.pipeline.len()), (5, 5));
        flight.deal((0..5).map(Value::Int).collect());
        let got: Vec<Vec<i64>> = waits
            .into_iter()
            .map(|mut reply| {
                let replies = reply.try_recv().expect("an answer");
                let replies = replies.unwrap_or_else(|_| panic!("replies"));
                let number = |reply: Value| match reply {
                    Value::Int(number) => number,
                    other => panic!("{other:?}"),
                };
                replies.into_iter().map(number).collect()
            })
            .collect();
        assert_eq!(got, [vec![0, 1, 2], vec![1], vec![3, 4, 1]]);
    }

    fn words(cmd: &redis::Cmd) -> String {
        let word = |arg: redis::Arg<&[u8]>| match arg {
            redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "?".to_owned(),
        };
        cmd.args_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    proptest! {
        /// Fails if: in any mix of callers, some of them gone, one gets another's answer.
        #[test]
        fn everybody_gets_what_they_asked_for(
            asks in vec((vec((any::<bool>(), 0_u8..4), 0..5), any::<bool>()), 0..9),
        ) {
            let (mut parcels, mut waits) = (Vec::new(), Vec::new());
            for (commands, stays) in &asks {
                let commands = commands.iter().map(|(is_common, key)| match is_common {
                    true => common(&format!("k{key}")),
                    false => Command::Own(redis::cmd("GET").arg(format!("k{key}")).clone()),
                });
                let (answer, reply) = oneshot::channel();
                parcels.push(Parcel { commands: commands.collect(), answer });
                waits.push(stays.then_some(reply));
            }
            let flight = Flight::load(parcels);
            let sent: Vec<_> = flight.pipeline.cmd_iter().map(words).collect();
            prop_assert_eq!(sent.len(), flight.count);
            flight.deal(sent.into_iter().map(Value::SimpleString).collect());
            for ((commands, _), reply) in asks.iter().zip(waits) {
                let Some(mut reply) = reply else { continue };
                let replies = reply.try_recv().expect("an answer");
                let replies = replies.unwrap_or_else(|_| panic!("replies")).into_vec();
                let expected = commands.iter().map(|(_, key)| Value::SimpleString(format!("GET k{key}")));
                prop_assert_eq!(replies, expected.collect::<Vec<_>>());
            }
        }
    }
}

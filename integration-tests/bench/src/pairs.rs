use std::time::Duration;

use crate::report::{Spread, Table, fine, rate};

/// What one side did in one phase of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub name: &'static str,
    pub n_items: usize,
    pub took: Duration,
}

impl Phase {
    pub fn rate(&self) -> f64 {
        self.n_items as f64 / self.took.as_secs_f64()
    }
}

/// The phases of all rounds of a bound and of the subject that is compared with it.
#[derive(Default)]
pub(crate) struct Pairs {
    rounds: Vec<(Vec<Phase>, Vec<Phase>)>,
}

impl Pairs {
    /// Measures both sides in turn. Who comes first changes with each round, so that neither always works in what the
    /// other has left.
    pub async fn measure(
        n_rounds: usize,
        mut bound: impl AsyncFnMut() -> anyhow::Result<Vec<Phase>>,
        mut subject: impl AsyncFnMut() -> anyhow::Result<Vec<Phase>>,
    ) -> anyhow::Result<Self> {
        let mut pairs = Self::default();
        for round_idx in 0..n_rounds {
            let round = if round_idx % 2 == 0 {
                let bound = bound().await?;
                (bound, subject().await?)
            } else {
                let subject = subject().await?;
                (bound().await?, subject)
            };
            pairs.rounds.push(round);
        }
        Ok(pairs)
    }

    /// For each phase both rates, and the ratio of those that were measured in the same round.
    pub fn table(&self, bound: &str, subject: &str) -> Table {
        let heading = [bound, subject].map(|side| format!("{side}/s: median (min to max)"));
        let mut table = Table::new(&["phase", &heading[0], &heading[1], "ratio"]);
        let n_phases = self.rounds.first().map_or(0, |(bound, _)| bound.len());
        for phase_idx in 0..n_phases {
            let each = |of: fn(&Phase, &Phase) -> f64| {
                let values =
                    self.rounds.iter().map(|(bound, subject)| of(&bound[phase_idx], &subject[phase_idx]));
                Spread::of(values.collect())
            };
            table.add([
                self.rounds[0].0[phase_idx].name.to_owned(),
                each(|bound, _| bound.rate()).show(rate),
                each(|_, subject| subject.rate()).show(rate),
                each(|bound, subject| subject.rate() / bound.rate()).show(fine),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pairs, Phase};

    #[tokio::test]
    async fn ratios_are_of_the_same_round() {
        let phase =
            |millis| Ok(vec![Phase { name: "creates", n_items: 100, took: Duration::from_millis(millis) }]);
        let (mut bound, mut subject) = ([100, 10].into_iter(), [200, 20].into_iter());
        let pairs = Pairs::measure(
            2,
            async || phase(bound.next().expect("two rounds")),
            async || phase(subject.next().expect("two rounds")),
        )
        .await
        .expect("both sides answer");
        let table = pairs.table("bound", "engine").to_string();
        assert!(table.ends_with("0.50 (0.50 to 0.50)\n"), "{table}");
    }
}

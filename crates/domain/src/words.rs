//! Words for people: names of states as they are spoken, and counts with their noun. Machines read the names.

/// A name in capitals as words: `IN_FULFILLMENT` is "in fulfillment".
pub fn plain(name: &str) -> String {
    name.to_lowercase().replace('_', " ")
}

/// A count with its noun: "1 piece", "2 pieces".
pub fn counted(number: i64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spoken_and_one_is_no_plural() {
        assert_eq!(plain("IN_FULFILLMENT"), "in fulfillment");
        assert_eq!([0, 1, 2].map(|n| counted(n, "piece")), ["0 pieces", "1 piece", "2 pieces"]);
    }

    #[test]
    fn what_nodes_and_stock_refuse_is_said_in_words() {
        use crate::fulfillment::State;
        use crate::fulfillment::lifecycle::Refusal as Work;
        use crate::promise::token::Refusal as Token;
        use crate::stock::Refusal as Stock;
        let said = [
            Work::State { step: "pick", state: State::ReadyForPickup }.to_string(),
            Work::TooMany { line: 1, asked: 2, left: 1 }.to_string(),
            Work::StillToPick { left: 1 }.to_string(),
            Token::State { state: "RELEASED", command: "extended" }.to_string(),
            Stock::TooFew { kind: "WRITE_OFF", wanted: 2, available: 1 }.to_string(),
        ];
        let expected = [
            "cannot pick: the fulfillment order is ready for pickup",
            "line 1 has 1 unit left, not 2",
            "1 unit neither picked nor reported short",
            "the promise cannot be extended: it is released",
            "write off of 2 units: only 1 is available",
        ];
        assert_eq!(said, expected);
    }
}

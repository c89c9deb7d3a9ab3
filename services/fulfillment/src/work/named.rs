//! Which lines, and which parts of their kits, the reason of a report is about.

use domain::id::Sku;
use service::Fields;

use super::change::Change;
use crate::error::Error;
use crate::promise::stock_view::Stock;

/// A line that a reason is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its index among the lines of the request.
    pub(crate) index: usize,
    /// Line of the order.
    pub(crate) line: u32,
    /// Part of its kit; none: the line as a whole.
    pub(crate) part: Option<Sku>,
}

impl Change {
    /// Says what the reason is about. Refuses names of what the work does not have; a plain item may be named by its own
    /// SKU.
    pub(super) fn name(&mut self, named: &[Named], stock: &Stock) -> Result<(), Error> {
        let mut fields = Fields::default();
        for Named { index, line, part } in named {
            let Some(known) = self.stored.order.lines.iter().find(|known| known.line == *line) else {
                let why = format_args!("the order has no line {line}");
                fields.refuse(format_args!("lines[{index}].line"), why);
                continue;
            };
            let Some(part) = part else { continue };
            let is_part = match stock.parts_of(known.sku.as_str()) {
                Some(mut parts) => parts.any(|of| of == part),
                None => *part == known.sku,
            };
            let why = format_args!("{part} is not a part of {}", known.sku);
            fields.check(is_part, format_args!("lines[{index}].sku"), why);
        }
        fields.done()?;
        self.named = named.to_vec();
        Ok(())
    }
}

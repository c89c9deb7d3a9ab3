//! Which lines, and which parts of their kits, the reason of a report is about.

use domain::fulfillment::Order;
use domain::id::Sku;
use service::Fields;

use crate::Fulfillment;
use crate::error::Error;

/// A line that a reason is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where the request names it.
    pub(crate) field: String,
    /// Line of the order.
    pub(crate) line: u32,
    /// Part of its kit; none: the line as a whole.
    pub(crate) part: Option<Sku>,
}

impl Fulfillment {
    /// Refuses names of what the work does not have. A plain item may be named by its own SKU.
    pub(crate) fn must_have(&self, order: &Order, named: &[Named]) -> Result<(), Error> {
        let mut fields = Fields::default();
        let stock = self.atp.read();
        for Named { field, line, part } in named {
            let Some(known) = order.lines.iter().find(|known| known.line == *line) else {
                fields.refuse(format!("{field}.line"), format!("the order has no line {line}"));
                continue;
            };
            let Some(part) = part else { continue };
            let is_part = match stock.parts_of(known.sku.as_str()) {
                Some(mut parts) => parts.any(|of| of == part),
                None => *part == known.sku,
            };
            fields.check(is_part, format!("{field}.sku"), format!("{part} is not a part of {}", known.sku));
        }
        Ok(fields.done()?)
    }
}

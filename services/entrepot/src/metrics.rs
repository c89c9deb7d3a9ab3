//! What each metric means: the text after `# HELP` on `/metrics`. Those of the port itself stand in `server::telemetry`.

use server::telemetry::{Kind, Metric};

use Kind::{Counter, Gauge, Histogram};

/// The metrics of the services and of what they stand on. A new one gets its line here (a test says which is missing).
pub const METRICS: &[Metric] = &[
    Metric(
        Counter,
        "entrepot_capacity_below_zero_total",
        "Capacity slots that were released more often than taken.",
    ),
    Metric(
        Gauge,
        "entrepot_clock_leap_seconds",
        "How far the database's clock is ahead of business time after a leap; 0 while it is followed.",
    ),
    Metric(
        Gauge,
        "entrepot_clock_machine_ahead_seconds",
        "How far the clock of this machine is ahead of business time.",
    ),
    Metric(Gauge, "entrepot_consumer_lag", "Events on the topic that the consumer has not seen."),
    Metric(
        Counter,
        "entrepot_consumer_offset_resets_total",
        "Times that the log of the broker was cut or made again under a consumer, by consumer and topic.",
    ),
    Metric(Counter, "entrepot_consumer_rebuilds_total", "Times the connection to the broker was made again."),
    Metric(Histogram, "entrepot_db_begin_seconds", "Time until a transaction began, by engine."),
    Metric(
        Counter,
        "entrepot_db_commits_total",
        "Commits, by engine; on SQLite several transactions share one.",
    ),
    Metric(
        Counter,
        "entrepot_db_refused_connects_total",
        "Callers that were refused at once because PostgreSQL could not be reached.",
    ),
    Metric(Counter, "entrepot_db_retries_total", "Transactions that were run again after a conflict."),
    Metric(
        Counter,
        "entrepot_db_silent_connections_total",
        "Connections to PostgreSQL that gave no answer and were given up.",
    ),
    Metric(
        Counter,
        "entrepot_db_slow_statements_total",
        "Statements slower than database.slow_statement_ms.",
    ),
    Metric(Counter, "entrepot_db_transactions_total", "Transactions that committed, by engine."),
    Metric(
        Counter,
        "entrepot_dead_letters_total",
        "Messages that could not be read, sent to the dead-letter topic.",
    ),
    Metric(Counter, "entrepot_event_gaps_total", "Gaps that consumers met, by whether they were healed."),
    Metric(Counter, "entrepot_events_applied_total", "Events applied, by consumer."),
    Metric(
        Counter,
        "entrepot_events_missed_total",
        "Aggregates whose newest events never came and were fetched from their owner, by consumer and topic.",
    ),
    Metric(
        Gauge,
        "entrepot_events_parked",
        "Events parked now, by consumer; 1000 stands for that many or more.",
    ),
    Metric(Counter, "entrepot_events_parked_total", "Events parked, by consumer and reason."),
    Metric(Counter, "entrepot_events_published_total", "Events that the transport acknowledged, by topic."),
    Metric(
        Counter,
        "entrepot_events_repeated_total",
        "Events skipped because they were applied before, by consumer.",
    ),
    Metric(Counter, "entrepot_fulfillment_changes_total", "Changes of fulfillment orders, by kind."),
    Metric(
        Counter,
        "entrepot_fulfillment_code_lookups_total",
        "Look-ups by pickup code, by result: found, void, missed, refused.",
    ),
    Metric(Gauge, "entrepot_fulfillment_watchers", "Open streams of store work."),
    Metric(Counter, "entrepot_fulfillment_wrong_codes_total", "Wrong pickup codes at handovers."),
    Metric(
        Counter,
        "entrepot_hold_counts_below_zero_total",
        "Counts of holds that ended more often than they began.",
    ),
    Metric(Histogram, "entrepot_hold_batch_jobs", "Holds written in one transaction."),
    Metric(Counter, "entrepot_holds_refused_total", "Holds that were refused, by reason."),
    Metric(
        Counter,
        "entrepot_inventory_batch_retries_total",
        "Batches of reservations that were run again after a conflict.",
    ),
    Metric(
        Histogram,
        "entrepot_inventory_batch_requests",
        "Requests served by one transaction of the reservations.",
    ),
    Metric(
        Counter,
        "entrepot_inventory_claims_given_up_total",
        "Reservations that lost units because goods were missing, by reason.",
    ),
    Metric(Counter, "entrepot_inventory_holds_expired_total", "Reservations that expired."),
    Metric(
        Counter,
        "entrepot_inventory_positions_restated_total",
        "Positions that were announced again because what policies keep back there changed.",
    ),
    Metric(
        Gauge,
        "entrepot_nodes_silent",
        "Nodes that let offers run out and get no promises until they answer.",
    ),
    Metric(
        Counter,
        "entrepot_orders_missed_events_total",
        "Events of orders' work that were lost on their way and asked for again.",
    ),
    Metric(Counter, "entrepot_orders_placed_total", "Orders placed."),
    Metric(
        Counter,
        "entrepot_orders_rerouted_total",
        "Times that pieces which a node could not do were held elsewhere without asking the customer.",
    ),
    Metric(Gauge, "entrepot_orders_watchers", "Open streams of orders."),
    Metric(
        Counter,
        "entrepot_orders_without_work_total",
        "Times that fulfillment knew no work for a released order, whose events were sent again.",
    ),
    Metric(
        Gauge,
        "entrepot_outbox_age_seconds",
        "For how many seconds the oldest unpublished event waits, by outbox.",
    ),
    Metric(Gauge, "entrepot_outbox_pending", "Events that the transport has not acknowledged, by outbox."),
    Metric(
        Counter,
        "entrepot_promises_adopted_late_total",
        "Promises whose order arrived after they had ended.",
    ),
    Metric(Counter, "entrepot_promises_expired_total", "Promises that expired."),
    Metric(Counter, "entrepot_promises_forgotten_total", "Promises whose records were deleted."),
    Metric(Counter, "entrepot_promises_held_total", "Promises granted."),
    Metric(Counter, "entrepot_promises_taken_total", "Promises taken by orders."),
    Metric(Counter, "entrepot_relay_errors_total", "Rounds of the relay that failed, by outbox."),
    Metric(Gauge, "entrepot_relay_leader", "1 where this process runs the relay, by outbox."),
    Metric(Counter, "entrepot_timer_errors_total", "Timer runs that failed, by service."),
    Metric(Gauge, "entrepot_timers_paused", "1 while the timers of a service end nothing, by service."),
    Metric(Counter, "entrepot_timers_run_total", "Things that were due and were done, by service."),
];

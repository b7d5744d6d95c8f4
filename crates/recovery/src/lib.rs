//! What can be recovered and how: inventory, timeline, windows, plan.

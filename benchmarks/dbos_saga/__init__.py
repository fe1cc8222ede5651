"""The saga as DBOS workflows; imports nothing of Waybill, and runs in an environment of its own."""

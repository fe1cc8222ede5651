"""Kafka through confluent-kafka: the log of more than one machine (extra `waybill[kafka]`)."""

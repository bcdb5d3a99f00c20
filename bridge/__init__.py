"""Between the results of tasks and cross-service events; the only importer of confluent_kafka."""

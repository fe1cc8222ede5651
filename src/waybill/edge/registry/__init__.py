"""Discovery: where the instances of a service are, and a registry that speaks Eureka's protocol."""

"""meshmark: what a service mesh costs Apache Kafka, measured with real parts."""

__version__ = "0.1.0"

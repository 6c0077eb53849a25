"""meshmark: what a service mesh costs Apache Kafka, measured with real parts."""

import os

__version__ = "0.1.0"

# Before numpy is imported. Its BLAS would share a product of a hundred rows between threads on all CPUs, which spin
# while they wait for each other, beside what is measured: on a busy machine one took 40 times as much CPU so.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

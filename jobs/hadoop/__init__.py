"""The room of Hadoop: how the jobs of a round run on a YARN cluster.

    submission.py  a job as Hadoop Streaming gets it: tasks, files, properties
    runner.py      mrjob's Hadoop runner with all its file system work over WebHDFS: one JVM a job
    cluster.py     the cluster of a command: configuration, services, directory in HDFS
    shipping.py    the environment and our code, packed once and kept in HDFS under the hash of their content
    yarn.py        what YARN and the jobs tell over HTTP: capacity, progress, logs of failed tasks; and kill

Nothing here knows what a job does.
"""

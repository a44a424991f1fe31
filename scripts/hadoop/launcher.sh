#!/usr/bin/env bash
# bin/hadoop of scripts/hadoop-one-node.sh, also called as hdfs, yarn and mapred: Hadoop's jars come without one.
# It knows the subcommands that people, mrjob and the daemons need. HADOOP_CONF_DIR, HADOOP_CLASSPATH,
# HADOOP_CLIENT_OPTS and HADOOP_ROOT_LOGGER are heeded as in Hadoop's own.
# shellcheck disable=SC2154 # conf/hadoop-env.sh assigns home and the options
set -euo pipefail

root=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=/dev/null
. "$root/conf/hadoop-env.sh"

usage() {
  printf '%s: %s; it knows: application, classpath, daemons by name, dfs, dfsadmin, fs, fsck, jar, job, logs, node, version\n' \
    "${0##*/}" "$1" >&2
  exit 2
}

[ $# -gt 0 ] || usage 'say what to do'
command=$1
shift
case $command in
  fs | dfs) class=org.apache.hadoop.fs.FsShell ;;
  jar) class=org.apache.hadoop.util.RunJar ;;
  version) class=org.apache.hadoop.util.VersionInfo ;;
  dfsadmin) class=org.apache.hadoop.hdfs.tools.DFSAdmin ;;
  fsck) class=org.apache.hadoop.hdfs.tools.DFSck ;;
  app | application | applicationattempt | container)
    class=org.apache.hadoop.yarn.client.cli.ApplicationCLI
    [ "$command" != app ] || command=application
    set -- "$command" "$@"
    ;;
  node) class=org.apache.hadoop.yarn.client.cli.NodeCLI ;;
  logs) class=org.apache.hadoop.yarn.client.cli.LogsCLI ;;
  job) class=org.apache.hadoop.mapred.JobClient ;;
  namenode) class=org.apache.hadoop.hdfs.server.namenode.NameNode ;;
  datanode) class=org.apache.hadoop.hdfs.server.datanode.DataNode ;;
  resourcemanager) class=org.apache.hadoop.yarn.server.resourcemanager.ResourceManager ;;
  nodemanager) class=org.apache.hadoop.yarn.server.nodemanager.NodeManager ;;
  historyserver) class=org.apache.hadoop.mapreduce.v2.hs.JobHistoryServer ;;
  classpath) class='' ;;
  *) usage "$command is unknown" ;;
esac

class_path="$home/lib/*:${HADOOP_CONF_DIR:-$root/conf}"
case $command in
  namenode | datanode | resourcemanager | nodemanager | historyserver)
    class_path=$class_path:$home/share/hadoop/hdfs
    options=$daemon_options
    ;;
  *)
    class_path=$class_path${HADOOP_CLASSPATH:+:$HADOOP_CLASSPATH}
    options="$client_options ${HADOOP_CLIENT_OPTS-}"
    ;;
esac
if [ -z "$class" ]; then
  printf '%s\n' "$class_path"
  exit
fi
# shellcheck disable=SC2086 # options are words
exec "$JAVA_HOME/bin/java" $options ${HADOOP_OPTS-} "-Dhadoop.home.dir=$home" \
  ${HADOOP_ROOT_LOGGER:+"-Dhadoop.root.logger=$HADOOP_ROOT_LOGGER"} -cp "$class_path" "$class" "$@"

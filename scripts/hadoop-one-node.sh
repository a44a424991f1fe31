#!/usr/bin/env bash
# Hadoop on this machine alone, and real: NameNode, DataNode, ResourceManager, NodeManager and JobHistoryServer, from the
# jars that scripts/hadoop/pom.xml names, all on 127.0.0.1.
#
#   scripts/hadoop-one-node.sh start [DIR]     start what does not run, wait until it is ready, say where it is
#   scripts/hadoop-one-node.sh stop [DIR]      end the jobs and the daemons
#   scripts/hadoop-one-node.sh status [DIR]    one line for each daemon; exit code 0 if all run, otherwise 1
#   scripts/hadoop-one-node.sh env [DIR]       the exports that a client needs: eval "$(scripts/hadoop-one-node.sh env)"
#
# DIR (otherwise .hadoop in the checkout) is HADOOP_HOME and holds everything:
#
#   lib/ bin/ share/     the jars, brought by Maven the first time (the network once), and `hadoop` to call them
#   conf/                written from scripts/hadoop/conf; the ports are Hadoop's own, or free ones where those were
#                        taken when conf/ports was written
#   data/ tmp/           what the daemons keep
#   archive/             Java's class data archive. The first start has a small job make it in the background, half a
#                        minute's work; with it, clients, ApplicationMasters and tasks start in two thirds of the time
#   logs/                NAME.log of each daemon, and userlogs/ of running jobs
#   run/NAME.pid         of namenode, datanode, resourcemanager, nodemanager, historyserver
#
# Only what Hadoop cannot be told an address for listens elsewhere, too: the NodeManager's shuffle and ApplicationMasters.
#
# Needs Linux, Java 17 and, the first time, Maven. YARN's own scripts cannot stand a DIR with a blank or another special
# character in its path: then the daemons know it by a symbolic link in /tmp, which `start` makes, and there is no
# archive/.
# shellcheck disable=SC2154 # load_ports assigns the ports
set -euo pipefail

root=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
templates=$root/scripts/hadoop
daemons='namenode datanode resourcemanager nodemanager historyserver'
patience=120 # seconds for a daemon to get ready
opens='java.io java.lang java.lang.reflect java.math java.net java.nio java.text java.util java.util.concurrent
  java.util.concurrent.atomic java.util.zip sun.net.dns sun.nio.ch sun.security.util sun.security.x509'
# Each port's name, and where Hadoop has it.
standard_ports='namenode_rpc=8020 namenode_http=9870 datanode_data=9866 datanode_http=9864 datanode_ipc=9867
  resourcemanager_rpc=8032 resourcemanager_scheduler=8030 resourcemanager_tracker=8031 resourcemanager_admin=8033
  resourcemanager_http=8088 nodemanager_rpc=8041 nodemanager_localizer=8040 nodemanager_http=8042
  nodemanager_shuffle=13562 historyserver_rpc=10020 historyserver_admin=10033 historyserver_http=19888'

say() { printf 'hadoop: %s\n' "$*"; }

die() {
  printf 'hadoop: %s\n' "$*" >&2
  exit 1
}

usage() {
  printf 'usage: %s start|stop|status|env [DIR]\n' "${0##*/}" >&2
  exit 2
}

# ---- processes

# Prints the pid of daemon $1 if it runs and is ours: a recorded pid may be another process's by now.
pid_of() {
  local pid
  pid=$(cat "$dir/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] && is_daemon "$pid" "$1" && printf '%s\n' "$pid"
}

# Whether process $1 is the daemon $2 of this DIR. A zombie has no command line. (No `grep -q` after a pipe: it ends
# early, and then what writes into the pipe fails, and the pipeline with it.)
is_daemon() {
  { tr '\0' '\n' <"/proc/$1/cmdline"; } 2>/dev/null | grep -xF -e "-Dcobnut.daemon=$2:$home" >/dev/null
}

# Waits up to $1 seconds until $2… succeeds.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# ---- Java and the jars

# The major version of the Java in directory $1; fails if there is none that runs.
java_version() {
  "$1/bin/java" -version 2>&1 | sed -nE '1s/.*version "([0-9]+).*/\1/p' | grep .
}

# Sets java_home to the first suitable Java.
find_java() {
  local candidate version found=''
  for candidate in ${JAVA_HOME:+"$JAVA_HOME"} "$(command -v java || true)" /usr/lib/jvm/java-17-*; do
    case $candidate in '') continue ;; */java) candidate=$(dirname -- "$(dirname -- "$(readlink -f -- "$candidate")")") ;; esac
    version=$(java_version "$candidate" 2>/dev/null) || continue
    # Hadoop 3.4 uses what Java 23 has taken away.
    if [ "$version" -ge 17 ] && [ "$version" -lt 23 ]; then
      java_home=$candidate
      return
    fi
    found=${found:-$version}
  done
  die "needs Java 17 to 22, and there is ${found:+only Java }${found:-none}:" \
    'install it (Debian, Ubuntu: apt install openjdk-17-jdk-headless maven), or name one with JAVA_HOME'
}

# The jars, all or none: they come into a temporary directory that is renamed at the end.
bring_jars() {
  local log=$dir/logs/maven.log
  rm -rf -- "$dir"/lib.new.*
  if [ "$(cat "$dir/lib/.pom" 2>/dev/null)" != "$(cksum <"$templates/pom.xml")" ]; then
    command -v mvn >/dev/null ||
      die 'needs Maven to bring the jars: install it (Debian, Ubuntu: apt install openjdk-17-jdk-headless maven)'
    say "bringing the jars of Hadoop $version: once, it needs the network and about half a minute"
    mkdir -p -- "$dir/lib.new.$$"
    if ! JAVA_HOME=$java_home mvn -q -B -f "$templates/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
      "-DoutputDirectory=$dir/lib.new.$$" >"$log" 2>&1 </dev/null 9>&-; then
      die "Maven failed: $(grep -m 1 ERROR "$log" || tail -n 1 "$log") (details: $log)"
    fi
    cksum <"$templates/pom.xml" >"$dir/lib.new.$$/.pom"
    rm -rf -- "${dir:?}/lib"
    mv -- "$dir/lib.new.$$" "$dir/lib"
  fi
  # Empty: the pages of NameNode and DataNode are in no jar, but they do not start without their directories.
  mkdir -p -- "$dir"/share/hadoop/hdfs/webapps/{hdfs,datanode} "$dir/share/hadoop/tools/lib"
  # Where mrjob and people look for it.
  ln -sfn -- "../../../../lib/hadoop-streaming-$version.jar" "$dir/share/hadoop/tools/lib/hadoop-streaming-$version.jar"
}

# ---- the configuration

is_port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

choose_ports() {
  local entry port taken=' '
  for entry in $standard_ports; do
    port=${entry#*=}
    # Below 32768, where Linux takes the ports of outgoing connections from.
    while is_port_taken "$port" || case $taken in *" $port "*) true ;; *) false ;; esac; do
      port=$((20000 + RANDOM % 12000))
    done
    taken="$taken$port "
    printf '%s=%s\n' "${entry%%=*}" "$port"
  done >"$dir/conf/ports.new"
  mv -- "$dir/conf/ports.new" "$dir/conf/ports"
}

# Sets home to the name of DIR that the daemons use.
choose_home() {
  case $dir in
    *[!A-Za-z0-9/._-]*) home=/tmp/cobnut-hadoop-$(id -u)-$(printf %s "$dir" | cksum | tr ' ' -) ;;
    *) home=$dir ;;
  esac
}

make_home() {
  [ "$home" != "$dir" ] || return 0
  [ -L "$home" ] || ln -s -- "$dir" "$home" 2>/dev/null || true
  if [ "$(stat -c %u -- "$home" 2>/dev/null)" != "$(id -u)" ] || [ "$(readlink -- "$home")" != "$dir" ]; then
    die "$home is in the way: the daemons need that name for $dir, which has special characters in it"
  fi
}

# Writes conf/ anew if what it is made from has changed; the ports stay.
configure() {
  local common container edits source stamp name
  stamp=$(
    cat -- "$templates"/conf/* "$templates/launcher.sh" "$root/scripts/hadoop-one-node.sh" "$dir/conf/ports" | cksum
    printf '%s\n' "$home" "$java_home" "$archive" "$(id -un)" "$(nproc)"
  )
  [ "$(cat "$dir/conf/made-from" 2>/dev/null)" != "$stamp" ] || return 0
  # An archive that is not there or does not fit is passed over; Java's word on that would go to stdout.
  common='-Djava.net.preferIPv4Stack=true -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Xlog:disable'
  for name in $opens; do
    common="$common --add-opens=java.base/$name=ALL-UNNAMED"
  done
  # The class path that MapReduce gives its containers begins with the working directory; an archive is used only if the
  # jars come first, in its order.
  # shellcheck disable=SC2016 # the container's shell puts it in
  container="$common -XX:SharedArchiveFile=$archive -cp $class_path:"'$PWD:job.jar/job.jar:job.jar/classes/:job.jar/lib/*:$PWD/*'
  common="$common -XX:SharedArchiveFile=$archive"
  edits=$(
    sed -E 's/^(.*)=(.*)$/s|@\1@|\2|g/' "$dir/conf/ports"
    printf 's|@%s@|%s|g\n' home "$home" version "$version" user "$(id -un)" vcores $(($(nproc) * 4)) container_options "$container"
  )
  mkdir -p -- "$dir/bin"
  for source in "$templates"/conf/*; do
    sed -e "$edits" "$source" >"$dir/conf/${source##*/}"
  done
  {
    printf '# Written by hadoop-one-node.sh for bin/hadoop.\n'
    printf '%s=%q\n' JAVA_HOME "$java_home" home "$home" archive "$archive" client_options "$common -Xmx256m" daemon_options \
      "$common -Xmx256m -Djava.io.tmpdir=$home/tmp -Dhadoop.root.logger=WARN,console"
  } >"$dir/conf/hadoop-env.sh"
  for name in hadoop hdfs yarn mapred; do
    cp -- "$templates/launcher.sh" "$dir/bin/$name.new"
    chmod +x "$dir/bin/$name.new"
    mv -- "$dir/bin/$name.new" "$dir/bin/$name"
  done
  printf '%s\n' "$stamp" >"$dir/conf/made-from"
}

load_ports() {
  local name value
  [ -f "$dir/conf/ports" ] || return 0
  while IFS='=' read -r name value; do
    printf -v "$name" %s "$value"
  done <"$dir/conf/ports"
}

# ---- what the daemons answer

# Prints the answer to method $1 on port $2, path $3, body $4 of type $5: status line, headers and body.
http() {
  set -- "$1" "$2" "$3" "${4-}" "${5-application/octet-stream}"
  (
    exec 3<>"/dev/tcp/127.0.0.1/$2" || exit
    printf '%s %s HTTP/1.0\r\nContent-Type: %s\r\nContent-Length: %s\r\n\r\n%s' "$1" "$3" \
      "$5" "${#4}" "$4" >&3
    exec timeout 10 cat <&3
  ) 2>/dev/null
}

# Whether the answer to GET on port $1, path $2 matches $3.
answers() { http GET "$1" "$2" | grep -E -e "$3" >/dev/null; }

# WebHDFS: calls $1 path and query $2, body $3, on the NameNode, and on the DataNode where that sends us.
webhdfs() {
  local answer location
  answer=$(http "$1" "$namenode_http" "/webhdfs/v1$2&user.name=$(id -un)") || return
  location=$(printf '%s' "$answer" | tr -d '\r' | sed -nE 's|^Location: http://127\.0\.0\.1:||p')
  [ -z "$location" ] || answer=$(http "$1" "${location%%/*}" "/${location#*/}" "${3-}") || return
  # "100 Continue" may come before it.
  grep -q '^HTTP/1.1 20' <<<"$answer"
}

is_ready() {
  local state
  case $1 in
    namenode) answers "$namenode_http" '/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState' '"FSState" : "Operational"' ;;
    datanode)
      answers "$namenode_http" '/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState' '"NumLiveDataNodes" : 1' &&
        webhdfs PUT '/.hadoop-one-node?op=CREATE&overwrite=true' ready && webhdfs DELETE '/.hadoop-one-node?op=DELETE'
      ;;
    resourcemanager) answers "$resourcemanager_http" /ws/v1/cluster/info '"state":"STARTED"' ;;
    nodemanager)
      # What ran before is listed for a while after its end: only a heartbeat since we began counts.
      state=$(http GET "$resourcemanager_http" /ws/v1/cluster/nodes | grep -oE '"state":"RUNNING"|"lastHealthUpdate":[0-9]+') &&
        [[ $state == *RUNNING* ]] && [ "$(printf '%s' "$state" | sed -nE 's/.*Update"?:([0-9]+)/\1/p')" -ge "$began" ]
      ;;
    historyserver) answers "$historyserver_http" /ws/v1/history/info '"hadoopVersion"' ;;
  esac
}

# ---- the subcommands

take_lock() {
  exec 9>>"$dir/lock"
  flock -n 9 && return
  say 'another call is at work on it; waiting for it' >&2
  flock 9
}

print_exports() {
  printf 'export %s=%q\n' HADOOP_HOME "$dir" HADOOP_CONF_DIR "$dir/conf"
  # shellcheck disable=SC2016 # who evaluates it has the PATH
  printf 'export PATH=%q:"$PATH"\n' "$dir/bin"
}

# Becomes the command $1… in an environment of its own: what a task sees must not depend on who started the daemons. In a session
# of its own, so that it outlives the terminal, and without our lock.
clean() {
  exec env -i "HOME=$HOME" "USER=$(id -un)" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "JAVA_HOME=$java_home" "HADOOP_HOME=$home" "HADOOP_CONF_DIR=$home/conf" "HADOOP_OPTS=${HADOOP_OPTS-}" \
    setsid "$@" 9>&- </dev/null
}

# In another directory that is renamed at the end, for a half-finished one cannot be told from a good one.
format() {
  [ ! -f "$dir/data/namenode/current/VERSION" ] || return 0
  rm -rf -- "$dir/data/namenode" "$dir/data/namenode.new" "$dir/data/datanode"
  (HADOOP_OPTS='' clean "$home/bin/hadoop" namenode "-Ddfs.namenode.name.dir=file://$home/data/namenode.new" -format -force -nonInteractive) \
    >"$dir/logs/format.log" 2>&1 || give_up format
  rm -f -- "$dir/data/prepared"
  mv -- "$dir/data/namenode.new" "$dir/data/namenode"
}

launch() {
  [ -z "$(pid_of "$1")" ] || return 0
  [ "$1" != namenode ] || format
  [ ! -f "$dir/logs/$1.log" ] || mv -f -- "$dir/logs/$1.log" "$dir/logs/$1.log.1"
  local mark=-Dcobnut.daemon=$1:$home command=("$home/bin/hadoop" "$1")
  [ "$1" != archive ] || command=("$root/scripts/hadoop-one-node.sh" archive "$dir" "$mark")
  (
    printf '%s\n' "$BASHPID" >"$dir/run/$1.pid"
    HADOOP_OPTS=$mark clean "${command[@]}"
  ) >"$dir/logs/$1.log" 2>&1 &
  until [ -n "$(pid_of "$1")" ] || ! kill -0 "$!" 2>/dev/null; do
    sleep 0.02
  done
  started="$started $1"
}

# The background part of the first start: a job in one container, whose Java writes down at its end what it had loaded.
make_archive() {
  local new old=/tmp/hadoop-one-node options
  # shellcheck source=/dev/null
  . "$dir/conf/hadoop-env.sh"
  load_ports
  new=$archive.new
  mkdir -p -- "$home/archive"
  options=$(sed -nE 's|.*<name>yarn.app.mapreduce.am.admin-command-opts</name><value>(.*)</value>.*|\1|p' "$dir/conf/mapred-site.xml")
  webhdfs DELETE "$old?op=DELETE&recursive=true"
  webhdfs PUT "$old/in?op=CREATE&overwrite=true" "$(seq 100)"
  "$dir/bin/hadoop" jar "$dir"/share/hadoop/tools/lib/hadoop-streaming-*.jar \
    -D mapreduce.job.name='hadoop-one-node: class data archive' -D mapreduce.job.maps=1 -D mapreduce.job.ubertask.enable=true \
    -D "yarn.app.mapreduce.am.admin-command-opts=${options/SharedArchiveFile=$archive/ArchiveClassesAtExit=$new}" \
    -input "$old/in" -output "$old/out" -mapper cat -reducer 'wc -l'
  # The job is done when its Java begins to write. A broken archive can crash who uses it: first see whether it is whole.
  wait_until 60 is_written "$new"
  "$JAVA_HOME/bin/java" -Xshare:on "-XX:SharedArchiveFile=$new" -cp "$home/lib/*:$home/conf" org.apache.hadoop.util.VersionInfo
  sync -- "$new"
  find "$dir/archive" -name '*.jsa' -delete
  mv -- "$new" "$archive"
  webhdfs DELETE "$old?op=DELETE&recursive=true"
}

is_written() { [ -s "$1" ] && ! grep -qs -e "-XX:ArchiveClassesAtExi[t]=$1" /proc/[0-9]*/cmdline; }

give_up() {
  tail -n 20 "$dir/logs/$1.log" >&2 || true
  die "$1 ${2-failed} (details: $dir/logs/$1.log)"
}

start() {
  local name other started='' began=0
  mkdir -p -- "$dir"
  dir=$(CDPATH='' cd -P -- "$dir" && pwd)
  mkdir -p -- "$dir"/{conf,data,logs,run,tmp}
  take_lock
  [ -e "$dir/.gitignore" ] || printf '*\n' >"$dir/.gitignore"
  choose_home
  make_home
  find_java
  version=$(sed -nE 's|.*<hadoop\.version>(.*)</hadoop\.version>.*|\1|p' "$templates/pom.xml")
  bring_jars
  class_path="$home/lib/*:$home/conf"
  # A change of Java or jars leads to another archive.
  archive=$home/archive/$({ "$java_home/bin/java" -version 2>&1 && cat "$dir/lib/.pom"; } | cksum | tr ' ' -).jsa
  [ -s "$dir/conf/ports" ] || choose_ports
  load_ports
  configure
  [ -n "$(pid_of nodemanager)" ] || began=$(date +%s%3N)
  # First who does not wait for the NameNode's format.
  for name in resourcemanager nodemanager namenode datanode historyserver; do
    launch "$name"
  done
  SECONDS=0
  for name in $daemons; do
    until is_ready "$name"; do
      for other in $daemons; do
        [ -n "$(pid_of "$other")" ] || give_up "$other" 'has ended'
      done
      [ "$SECONDS" -lt "$patience" ] || give_up "$name" "is not ready after $patience s"
      sleep 0.2
    done
    # Everyone may write to /tmp, as in any.
    if [ "$name" = namenode ] && [ ! -f "$dir/data/prepared" ]; then
      if ! { webhdfs PUT '/tmp?op=MKDIRS' && webhdfs PUT '/tmp?op=SETPERMISSION&permission=1777' &&
        webhdfs PUT "/user/$(id -un)?op=MKDIRS"; }; then
        give_up namenode 'does not make /tmp and /user'
      fi
      : >"$dir/data/prepared"
    fi
  done
  name=$started # of the daemons
  # Behind a symbolic link Java archives next to nothing: it knows the jars by their real path.
  [ -f "$archive" ] || [ "$home" != "$dir" ] || launch archive
  if [ -z "$name" ]; then
    say "runs already, in $dir"
  else
    say "runs in $dir; started:$name"
  fi
  say "NameNode         http://127.0.0.1:$namenode_http/jmx (WebHDFS: /webhdfs/v1/)"
  say "ResourceManager  http://127.0.0.1:$resourcemanager_http/"
  say "NodeManager      http://127.0.0.1:$nodemanager_http/"
  say "JobHistoryServer http://127.0.0.1:$historyserver_http/"
  print_exports
}

are_gone() {
  local pid
  for pid; do
    ! kill -0 -- "$pid" 2>/dev/null || return 1
  done
}

# Ends the processes or, with a minus, process groups $1…: TERM, some seconds' patience, KILL.
end() {
  [ $# -gt 0 ] || return 0
  kill -TERM -- "$@" 2>/dev/null || true
  wait_until 15 are_gone "$@" && return
  local pid
  for pid; do
    are_gone "$pid" || kill -KILL -- "$pid" 2>/dev/null || true
  done
  wait_until 5 are_gone "$@"
}

# Prints the process groups of containers that are still there: the NodeManager leaves them to its successor.
containers() {
  local file pid container
  for file in "$dir"/data/nodemanager/nmPrivate/application_*/container_*/container_*.pid; do
    pid=$(cat "$file" 2>/dev/null) && [ -n "$pid" ] || continue
    container=${file##*/}
    ! { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -F -e "/${container%.pid}/" >/dev/null ||
      printf -- '-%s\n' "$pid"
  done
}

stop() {
  local name pid pids=() names='' application
  [ -d "$dir/run" ] || { say "nothing runs in $dir" && return; }
  take_lock
  load_ports
  # The ResourceManager would go on with them after the next start.
  if [ -n "$(pid_of resourcemanager)" ]; then
    for application in $(http GET "$resourcemanager_http" \
      '/ws/v1/cluster/apps?states=NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING' | grep -oE '"id":"application_[0-9_]+' | cut -c7-); do
      http PUT "$resourcemanager_http" "/ws/v1/cluster/apps/$application/state" '{"state":"KILLED"}' application/json >/dev/null || true
    done
  fi
  for name in archive historyserver nodemanager resourcemanager datanode namenode; do
    pid=$(pid_of "$name") || continue
    if [ "$name" = archive ]; then
      pids+=("-$pid") # with its client
    else
      pids+=("$pid")
      names="$names $name"
    fi
  done
  end "${pids[@]}" || die "cannot end ${pids[*]}"
  # shellcheck disable=SC2046 # numbers
  end $(containers) || die "cannot end $(containers | tr '\n' ' ')"
  rm -f -- "$dir"/run/*.pid
  if [ -n "$names" ]; then
    say "ended:$names"
  else
    say "nothing runs in $dir"
  fi
}

status() {
  local name pid port code=0
  load_ports
  for name in $daemons; do
    port=${name}_http
    if pid=$(pid_of "$name"); then
      printf '%-16s runs, pid %s, http://127.0.0.1:%s/\n' "$name" "$pid" "${!port}"
    else
      printf '%-16s does not run\n' "$name"
      code=1
    fi
  done
  return "$code"
}

[ $# -ge 1 ] || usage
[ $# -le 2 ] || [ "$1" = archive ] || usage
dir=${2:-$root/.hadoop}
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
[ ! -d "$dir" ] || dir=$(CDPATH='' cd -P -- "$dir" && pwd)
choose_home
case $1 in
  start) start ;;
  stop) stop ;;
  status) status ;;
  env) print_exports ;;
  archive) make_archive ;; # started by start
  *) usage ;;
esac

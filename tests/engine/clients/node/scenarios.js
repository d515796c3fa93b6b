// What programs with dockerode do. Each scenario prints one line of JSON; test_dockerode.py makes each a test.
// Run in the daemon's network, with DOCKER_HOST naming its socket.

'use strict'

const assert = require('node:assert/strict')
const http = require('node:http')
const { PassThrough } = require('node:stream')
const zlib = require('node:zlib')
const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const Docker = require('dockerode')

const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace('unix://', '') })
const SECONDS = 20

async function text(stream) {
  const pieces = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

// The two outputs of a multiplexed stream, when it has ended.
async function apart(stream) {
  const out = new PassThrough()
  const err = new PassThrough()
  docker.modem.demuxStream(stream, out, err)
  stream.on('end', () => { out.end(); err.end() })
  return Promise.all([text(out), text(err)])
}

function progress(stream) {
  return new Promise((resolve, reject) => {
    docker.modem.followProgress(stream, (error, output) => (error ? reject(error) : resolve(output)))
  })
}

async function started(options) {
  const container = await docker.createContainer({ Image: 'busybox', ...options })
  await container.start()
  return container
}

const sleeper = (more) => started({ Cmd: ['sleep', '60'], ...more })

function tarOf(files) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rp-node-'))
  try {
    for (const [name, content] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), content)
    return execFileSync('tar', ['-C', folder, '-c', ...Object.keys(files)])
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

const scenarios = {
  async the_daemon_says_who_it_is() {
    assert.equal((await docker.ping()).toString(), 'OK')
    assert.equal((await docker.version()).ApiVersion, '1.50')
    assert.equal((await docker.info()).OSType, 'linux')
  },

  async a_command_runs_and_its_output_comes_apart() {
    const [out, err] = [new PassThrough(), new PassThrough()]
    const command = ['sh', '-c', 'echo out; echo err >&2; exit 5']
    const [result, container] = await docker.run('busybox', command, [out, err], { Tty: false })
    out.end()
    err.end()
    assert.equal(result.StatusCode, 5)
    assert.deepEqual([await text(out), await text(err)], ['out\n', 'err\n'])
    await container.remove()
  },

  async a_terminal_has_one_output() {
    const out = new PassThrough()
    const [result, container] = await docker.run('busybox', ['tty'], out)
    out.end()
    assert.equal(result.StatusCode, 0)
    assert.match(await text(out), /^\/dev\/(pts\/0|console)\r\n$/)
    await container.remove()
  },

  async standard_input_ends_where_the_client_ends_it() {
    const container = await docker.createContainer({
      Image: 'busybox', Cmd: ['wc', '-c'], OpenStdin: true, StdinOnce: true, AttachStdin: true
    })
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true })
    const reading = apart(stream)
    await container.start()
    stream.write(Buffer.alloc(100_000, 'x'))
    stream.end()
    assert.equal((await reading)[0].trim(), '100000')
    assert.equal((await container.wait()).StatusCode, 0)
    await container.remove()
  },

  async an_exec_has_its_own_streams_and_code() {
    const container = await sleeper()
    const exec = await container.exec({
      Cmd: ['sh', '-c', 'cat; echo $WHO >&2; exit 9'], Env: ['WHO=node'],
      AttachStdin: true, AttachStdout: true, AttachStderr: true
    })
    const stream = await exec.start({ hijack: true, stdin: true })
    const reading = apart(stream)
    stream.end('typed')
    assert.deepEqual(await reading, ['typed', 'node\n'])
    assert.equal((await exec.inspect()).ExitCode, 9)
    await container.remove({ force: true })
  },

  async a_container_goes_through_its_states() {
    const container = await sleeper({ name: 'noded', Labels: { kind: 'node' } })
    const state = async () => (await container.inspect()).State.Status
    assert.equal(await state(), 'running')
    await container.pause()
    assert.equal(await state(), 'paused')
    await container.unpause()
    await container.restart({ t: 0 })
    assert.equal(await state(), 'running')
    const found = await docker.listContainers({ filters: { label: ['kind=node'] } })
    assert.deepEqual(found.map((row) => row.Names), [['/noded']])
    await container.rename({ name: 'renamed' })
    await container.stop({ t: 0 })
    assert.equal(await state(), 'exited')
    await container.remove()
    await assert.rejects(docker.getContainer('renamed').inspect(), { statusCode: 404 })
  },

  async logs_are_read_and_followed() {
    const container = await started({ Cmd: ['sh', '-c', 'echo one; sleep 0.2; echo two'] })
    const followed = await container.logs({ follow: true, stdout: true, stderr: true })
    assert.deepEqual(await apart(followed), ['one\ntwo\n', ''])
    const read = await container.logs({ stdout: true, tail: 1 })
    assert.equal(read.subarray(8).toString(), 'two\n')
    await container.remove()
  },

  async a_published_port_answers() {
    const command = ['sh', '-c', 'mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www']
    const container = await started({
      Cmd: command, ExposedPorts: { '80/tcp': {} }, HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '0' }] } }
    })
    const port = (await container.inspect()).NetworkSettings.Ports['80/tcp'][0].HostPort
    for (;;) {
      try {
        const answer = await new Promise((resolve, reject) => {
          http.get({ port, host: '127.0.0.1', path: '/' }, resolve).on('error', reject)
        })
        assert.equal(await text(answer), 'served\n')
        break
      } catch (error) {
        // The server inside has not listened yet; the scenario's own limit ends this.
        if (!['ECONNREFUSED', 'ECONNRESET'].includes(error.code)) throw error
      }
    }
    await container.remove({ force: true })
  },

  async files_are_put_and_got() {
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['cat', '/tmp/note'] })
    await container.putArchive(zlib.gzipSync(tarOf({ note: 'from node' })), { path: '/tmp' })
    const tar = await text(await container.getArchive({ path: '/tmp/note' }))
    assert.match(tar, /from node/)
    await container.remove()
  },

  async an_image_is_built_from_a_stream() {
    const context = tarOf({ Dockerfile: 'FROM busybox\nRUN echo baked > /cake\nCMD cat /cake\n' })
    const output = await progress(await docker.buildImage(PassThrough.from(context), { t: 'node/cake' }))
    assert.match(output.map((line) => line.stream ?? '').join(''), /Successfully tagged node\/cake:latest/)
    const [out, err] = [new PassThrough(), new PassThrough()]
    const options = { Tty: false, HostConfig: { AutoRemove: true } }
    const [, container] = await docker.run('node/cake', [], [out, err], options)
    out.end()
    assert.equal(await text(out), 'baked\n')
    await container.wait({ condition: 'removed' }).catch((error) => assert.equal(error.statusCode, 404))
    await docker.getImage('node/cake').remove()
  },

  async a_failing_build_says_so_in_its_stream() {
    const context = tarOf({ Dockerfile: 'FROM busybox\nRUN exit 3\n' })
    const stream = await docker.buildImage(PassThrough.from(context), {})
    const problem = await progress(stream).then((output) => output.at(-1).error, (error) => error.message)
    assert.match(problem, /returned a non-zero code: 3/)
  },

  async images_are_saved_loaded_and_tagged() {
    await docker.getImage('busybox').tag({ repo: 'node/copy', tag: '1' })
    const saved = await text(await docker.getImage('node/copy:1').get())
    assert.match(saved, /manifest\.json/)
    assert.ok((await docker.getImage('node/copy:1').history()).length > 0)
    await docker.getImage('node/copy:1').remove()
    await assert.rejects(docker.getImage('node/copy:1').inspect(), { statusCode: 404 })
  },

  async networks_and_volumes() {
    const network = await docker.createNetwork({ Name: 'noded', Labels: { a: 'b' } })
    const volume = await docker.createVolume({ Name: 'noded' })
    const container = await sleeper({ HostConfig: { Binds: ['noded:/v'] } })
    await network.connect({ Container: container.id, EndpointConfig: { Aliases: ['known'] } })
    const { NetworkSettings, Mounts } = await container.inspect()
    assert.ok(NetworkSettings.Networks.noded.IPAddress)
    assert.equal(Mounts[0].Name, 'noded')
    await assert.rejects(docker.getVolume('noded').remove(), { statusCode: 409 })
    await container.remove({ force: true })
    await network.remove()
    await docker.getVolume(volume.name ?? volume.Name).remove()
  },

  async statistics_come_once_and_as_a_stream() {
    const container = await sleeper()
    const once = await container.stats({ stream: false })
    assert.ok(once.memory_stats.usage > 0)
    const stream = await container.stats({ stream: true })
    const first = await new Promise((resolve) => stream.once('data', resolve))
    assert.ok(JSON.parse(first.toString()).cpu_stats.online_cpus > 0)
    stream.destroy()
    await container.remove({ force: true })
  },

  async events_are_told_as_they_happen() {
    const stream = await docker.getEvents({ filters: { type: ['container'], event: ['start', 'die'] } })
    const seen = []
    const both = new Promise((resolve) => {
      stream.on('data', (data) => {
        for (const line of data.toString().trim().split('\n')) seen.push(JSON.parse(line).Action)
        if (seen.length === 2) resolve()
      })
    })
    const container = await started({ Cmd: ['true'] })
    await both
    stream.destroy()
    assert.deepEqual(seen, ['start', 'die'])
    await container.remove({ force: true })
  },

  async errors_have_their_status_and_words() {
    await assert.rejects(docker.createContainer({ Image: 'nosuch' }), (error) => {
      assert.equal(error.statusCode, 404)
      assert.match(error.message, /No such image: nosuch:latest/)
      return true
    })
    const container = await sleeper()
    await assert.rejects(container.remove(), { statusCode: 409 })
    await assert.rejects(container.start(), { statusCode: 304 })
    await container.remove({ force: true })
  }
}

async function main() {
  for (const [scenario, run] of Object.entries(scenarios)) {
    let problem = ''
    let timer
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done in ${SECONDS} s`)), SECONDS * 1000)
    })
    try {
      await Promise.race([run(), late])
    } catch (error) {
      problem = error.stack ?? String(error)
    }
    clearTimeout(timer)
    console.log(JSON.stringify({ scenario, problem }))
  }
  process.exit(0)
}

main()

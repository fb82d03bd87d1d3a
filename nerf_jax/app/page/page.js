"use strict";
// The page: unpacks the field, draws it with WebGL 2, and moves a camera by mouse, touch and keys.
// `scene` is written by nerf_jax/app/page/__init__.py. Cameras are x right, y up, z backwards.

const scene = JSON.parse(document.getElementById("scene").textContent);
const element = (id) => document.getElementById(id);
const canvas = element("canvas"), root = document.documentElement;

const FRAME_MS = 33;        // of a frame in motion, as long as it has LEAST_SIDE pixels
const LEAST_SIDE = 64;      // of the shorter side of such a frame
const STRIP_MS = 80;        // of a strip of the sharp picture
const STILL_MS = 150;       // without motion, until the sharp picture begins
const SECONDS_A_FRAME = 0.2;  // of the camera path

function fail(sentence) {
  element("message").textContent = sentence;
  element("message").hidden = false;
  root.dataset.state = "failed";
}

// ---- vectors

const add = (a, b, s = 1) => a.map((x, i) => x + s * b[i]);
const scaled = (a, s) => a.map((x) => s * x);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const norm = (a) => Math.sqrt(dot(a, a));
const unit = (a) => scaled(a, 1 / norm(a));
const cross = ([a, b, c], [x, y, z]) => [b * z - c * y, c * x - a * z, a * y - b * x];
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
// `x` turned about a unit vector (Rodrigues)
function turned(x, axis, angle) {
  const c = Math.cos(angle), s = Math.sin(angle);
  return add(add(scaled(x, c), cross(axis, x), s), axis, dot(axis, x) * (1 - c));
}

// ---- the arrays of the page

async function unpack() {
  const text = atob(element("content").textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const content = await new Response(stream).arrayBuffer();
  return (name) => content.slice(scene.sections[name][0], scene.sections[name][0] + scene.sections[name][1]);
}

// The table as rows of texels: half floats from their two planes of bytes, or 8 bits.
function tableOf(buffer) {
  const bytes = new Uint8Array(buffer), size = scene.row * Math.ceil(scene.numTexels / scene.row);
  const Kind = scene.bits === 16 ? Uint16Array : Int8Array;
  const table = new Kind(size * scene.numFeatures);
  if (scene.bits === 8) {
    table.set(new Int8Array(buffer));
  } else {
    const half = bytes.length / 2;
    for (let i = 0; i < half; i++) table[i] = bytes[i] | (bytes[half + i] << 8);
  }
  return table;
}

// The number of cells from each to the nearest occupied one, diagonals counting 1: two sweeps of the
// grid, with a border around it.
function distancesOf(buffer) {
  const n = scene.cells, side = n + 2, bits = new Uint8Array(buffer);
  const padded = new Uint8Array(side ** 3).fill(255);
  const index = (x, y, z) => (z * side + y) * side + x;
  for (let z = 0, i = 0; z < n; z++)
    for (let y = 0; y < n; y++)
      for (let x = 0; x < n; x++, i++)
        if (bits[i >> 3] & (128 >> (i & 7))) padded[index(x + 1, y + 1, z + 1)] = 0;
  const before = [];
  for (let z = -1; z <= 1; z++)
    for (let y = -1; y <= 1; y++)
      for (let x = -1; x <= 1; x++) if (index(x, y, z) < 0) before.push(index(x, y, z));
  const sweep = (sign) => {
    const order = (k) => (sign > 0 ? k : n + 1 - k);
    for (let z = 1; z <= n; z++)
      for (let y = 1; y <= n; y++)
        for (let x = 1; x <= n; x++) {
          const i = index(order(x), order(y), order(z));
          let least = padded[i];
          if (least === 0) continue;
          for (const offset of before) least = Math.min(least, padded[i + sign * offset] + 1);
          padded[i] = least;
        }
  };
  sweep(1);
  sweep(-1);
  const found = new Uint8Array(n ** 3);
  for (let z = 0, i = 0; z < n; z++)
    for (let y = 0; y < n; y++, i += n)
      found.set(padded.subarray(index(1, y + 1, z + 1), index(n + 1, y + 1, z + 1)), i);
  return found;
}

// ---- WebGL

const VERTEX = `#version 300 es
void main() { gl_Position = vec4(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1, 0, 1); }`;

function compile(gl) {
  const program = gl.createProgram();
  const header = "#version 300 es\nprecision highp float;\nprecision highp int;\n";
  const sources = [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, `${header}${scene.constants}\n${element("shader").textContent}`],
  ];
  const shaders = sources.map(([kind, source]) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    return shader;
  });
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(gl.getShaderInfoLog(shaders[1]) || gl.getProgramInfoLog(program) || "no reason given");
  }
  gl.useProgram(program);
  return program;
}

function upload(gl, program, section) {
  const locate = (name) => gl.getUniformLocation(program, name);
  let unit = 0;
  const bind = (name, target) => {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(target, gl.createTexture());
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(target, filter, gl.NEAREST);
    gl.uniform1i(locate(name), unit++);
  };
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  const channels = [gl.RED, gl.RG, gl.RGB, gl.RGBA][scene.numFeatures - 1];
  const half = scene.bits === 16;
  const formats = half ? [gl.R16F, gl.RG16F, gl.RGB16F, gl.RGBA16F] : [gl.R8_SNORM, gl.RG8_SNORM, gl.RGB8_SNORM, gl.RGBA8_SNORM];
  const rows = Math.ceil(scene.numTexels / scene.row);
  bind("table", gl.TEXTURE_2D);
  gl.texImage2D(gl.TEXTURE_2D, 0, formats[scene.numFeatures - 1], scene.row, rows, 0, channels, half ? gl.HALF_FLOAT : gl.BYTE, tableOf(section("table")));
  bind("steps", gl.TEXTURE_2D);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RG32F, scene.numSteps, 1, 0, gl.RG, gl.FLOAT, new Float32Array(section("steps")));
  bind("distances", gl.TEXTURE_3D);
  gl.texImage3D(gl.TEXTURE_3D, 0, gl.R8UI, scene.cells, scene.cells, scene.cells, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, distancesOf(section("occupied")));
  bind("depthColors", gl.TEXTURE_2D);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, new Uint8Array(section("depthColors")));
  for (const [binding, name] of ["density", "color", "environment"].entries()) {
    const content = section(name);
    if (!content.byteLength) continue;
    gl.bindBufferBase(gl.UNIFORM_BUFFER, binding, gl.createBuffer());
    gl.bufferData(gl.UNIFORM_BUFFER, content, gl.STATIC_DRAW);
    const block = `${name[0].toUpperCase()}${name.slice(1)}Network`;
    gl.uniformBlockBinding(program, gl.getUniformBlockIndex(program, block), binding);
  }
  gl.uniform1i(locate("numSteps"), scene.numSteps);
  gl.uniform2fv(locate("depthRange"), scene.depthRange);
  gl.activeTexture(gl.TEXTURE0 + unit);  // for the coarse picture
  return locate;
}

function checkLimits(gl) {
  const need = [
    ["MAX_TEXTURE_SIZE", Math.max(scene.row, Math.ceil(scene.numTexels / scene.row))],
    ["MAX_3D_TEXTURE_SIZE", scene.cells],
    ["MAX_UNIFORM_BLOCK_SIZE", Math.max(...["density", "color", "environment"].map((name) => scene.sections[name][1]))],
  ];
  for (const [name, size] of need) {
    const most = gl.getParameter(gl[name]);
    if (size > most) throw new Error(`${name} is ${most}, and this scene needs ${size}`);
  }
}

// ---- the camera: position, right, up and back in the world, a lens in pixels of the photos, the
// bounds of its rays, and the target that it orbits

const home = { focus: scene.focus };
home.distance = scene.views.reduce((sum, view) => sum + norm(add(view.pose.map((row) => row[3]), scene.focus, -1)), 0) / scene.views.length;
home.near = Math.min(...scene.views.map((view) => view.near));
home.far = Math.max(...scene.views.map((view) => view.far));

function cameraOf(view) {
  const [right, up, back, position] = [0, 1, 2, 3].map((column) => view.pose.map((row) => row[column]));
  return aimed({ right, up, back, position, focal: view.focal, principal: view.principal, near: view.near, far: view.far });
}

// The target is the point of the optical axis nearest to the scene's focus, if that is ahead.
function aimed(camera) {
  const ahead = -dot(add(scene.focus, camera.position, -1), camera.back);
  const distance = ahead > 0.05 * home.distance ? ahead : home.distance;
  return { ...camera, target: add(camera.position, camera.back, -distance) };
}

// The photos' bounds suit their distance from the focus.
function bounded(camera) {
  const change = norm(add(camera.position, scene.focus, -1)) - home.distance;
  const near = Math.max(Math.min(home.near, home.near + change), 0.02 * home.near);
  return { ...camera, near, far: Math.max(home.far, home.far + change) };
}

function orbited(camera, aroundUp, aroundRight) {
  const up = scene.up;
  let turn = (x) => turned(x, camera.right, aroundRight);
  if (Math.abs(dot(turn(camera.back), up)) > 0.995) turn = (x) => x;  // not over the pole
  const both = (x) => turned(turn(x), up, aroundUp);
  const position = add(camera.target, both(add(camera.position, camera.target, -1)));
  return bounded({ ...camera, position, right: both(camera.right), up: both(camera.up), back: both(camera.back) });
}

function moved(camera, right, up, back = 0) {
  const by = add(add(scaled(camera.right, right), camera.up, up), camera.back, back);
  return bounded({ ...camera, position: add(camera.position, by), target: add(camera.target, by) });
}

function zoomed(camera, factor) {
  const offset = add(camera.position, camera.target, -1);
  const distance = clamp(norm(offset) * factor, 0.02 * home.distance, 20 * home.distance);
  return bounded({ ...camera, position: add(camera.target, unit(offset), distance) });
}

// The camera path at a time; a path that is not closed goes back as it came.
function onPath(seconds) {
  const frames = scene.path.frames, count = frames.length;
  let at = seconds / SECONDS_A_FRAME;
  if (scene.path.closed) at %= count;
  else if (count > 1) at = count - 1 - Math.abs((at % (2 * count - 2)) - (count - 1));
  else at = 0;
  const first = frames[Math.floor(at) % count], second = frames[(Math.floor(at) + 1) % count], part = at % 1;
  const pose = first.pose.map((row, i) => row.map((x, j) => x + part * (second.pose[i][j] - x)));
  const camera = cameraOf({ ...first, pose });
  const back = unit(camera.back), right = unit(cross(camera.up, back));
  return aimed({ ...camera, back, right, up: cross(back, right) });
}

// ---- drawing: coarse in motion, sharp strip by strip when still

function painter(gl, locate) {
  const coarse = gl.createFramebuffer();
  let rate = 2000, pending = null, size = [0, 0];  // rate: pixels a millisecond

  function resize() {
    const ratio = Math.min(devicePixelRatio, 2);
    size = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width === size[0] && canvas.height === size[1]) return;
    [canvas.width, canvas.height] = size;
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, ...size);
    gl.bindFramebuffer(gl.FRAMEBUFFER, coarse);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  }

  // Rows of an image of the camera; the whole photo is in view.
  function draw(camera, [width, height], first, rows) {
    const factor = Math.min(width / scene.size[0], height / scene.size[1]);
    const focal = scaled(camera.focal, factor);
    const center = [width, height].map((side, i) => side / 2 + factor * (camera.principal[i] - scene.size[i] / 2));
    const pose = [camera.right, camera.up, camera.back, camera.position].flat();
    gl.uniformMatrix4x3fv(locate("worldFromCamera"), false, pose);
    gl.uniform4f(locate("lens"), ...focal, ...center);
    gl.uniform2f(locate("bounds"), camera.near, camera.far);
    gl.uniform1f(locate("height"), height);
    gl.uniform1i(locate("showDepth"), state.depth);
    gl.viewport(0, 0, width, height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, height - first - rows, width, rows);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.SCISSOR_TEST);
    pending = { sync: gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0), start: performance.now(), pixels: width * rows };
    gl.flush();
  }

  return {
    resize,
    // Whether the last drawing is done; then the speed of this machine is known better.
    ready() {
      if (!pending) return true;
      if (gl.clientWaitSync(pending.sync, 0, 0) === gl.TIMEOUT_EXPIRED) return false;
      const measured = pending.pixels / Math.max(performance.now() - pending.start, 0.5);
      rate = Math.sqrt(rate * measured);
      gl.deleteSync(pending.sync);
      pending = null;
      return true;
    },
    drawCoarse(camera) {
      const least = Math.min(1, LEAST_SIDE / Math.min(...size));
      const share = clamp(Math.sqrt((rate * FRAME_MS) / (size[0] * size[1])), least, 1);
      const small = size.map((side) => Math.max(1, Math.round(side * (share > 0.9 ? 1 : share))));
      gl.bindFramebuffer(gl.FRAMEBUFFER, coarse);
      draw(camera, small, 0, small[1]);
      gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
      gl.blitFramebuffer(0, 0, ...small, 0, 0, ...size, gl.COLOR_BUFFER_BIT, gl.LINEAR);
    },
    // The next rows of the sharp picture after the first `done`; returns how many there are then.
    drawSharp(camera, done) {
      const rows = clamp(Math.ceil((rate * STRIP_MS) / size[0]), 1, size[1] - done);
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      draw(camera, size, done, rows);
      return done + rows;
    },
    isComplete: (done) => done >= size[1],
  };
}

const state = { camera: cameraOf(scene.views[0]), view: 0, depth: false, touring: false, seconds: 0, moved: -1e9, dirty: true, done: 0 };

function run(paint) {
  let scheduled = false, last = 0;
  const keys = new Set();

  function schedule() {
    if (!scheduled) requestAnimationFrame(tick);
    scheduled = true;
  }

  function show(camera, inMotion = true) {
    state.camera = camera;
    state.dirty = true;
    state.moved = inMotion ? performance.now() : -1e9;
    root.dataset.state = "moving";
    schedule();
  }

  function advance(seconds) {
    if (state.touring) {
      state.seconds += seconds;
      show(onPath(state.seconds));
    }
    for (const key of keys) show(KEYS[key](state.camera, seconds));
  }

  function tick(now) {
    scheduled = false;
    const seconds = Math.min((now - last) / 1000, 0.1);
    if (!paint.ready()) return schedule();
    last = now;
    advance(seconds);
    if (state.dirty) {
      paint.drawCoarse(state.camera);
      state.dirty = false;
      state.done = 0;
      root.dataset.drawn = "yes";
      return schedule();
    }
    if (performance.now() - state.moved < STILL_MS) return schedule();
    if (!paint.isComplete(state.done)) {
      state.done = paint.drawSharp(state.camera, state.done);
      return schedule();
    }
    root.dataset.state = "sharp";
  }

  const press = (id, on) => element(id).setAttribute("aria-pressed", String(on));
  const actions = {
    next() {
      stop();
      state.view = (state.view + 1) % scene.views.length;
      describe();
      show(cameraOf(scene.views[state.view]), false);
    },
    tour() {
      state.touring = !state.touring;
      press("tour", state.touring);
      if (state.touring) last = performance.now();
      schedule();
    },
    depth() {
      state.depth = !state.depth;
      press("depth", state.depth);
      show(state.camera, false);
    },
    full() {
      if (document.fullscreenElement) document.exitFullscreen();
      else root.requestFullscreen?.().catch(() => {});
    },
    info() {
      element("facts").hidden = !element("facts").hidden;
      press("info", !element("facts").hidden);
    },
  };

  function stop() {
    state.touring = false;
    press("tour", false);
  }

  function describe() {
    element("view").textContent = `${scene.views[state.view].name} (${state.view + 1} of ${scene.views.length})`;
  }

  function steer(camera) {
    stop();
    show(camera);
  }

  for (const id of Object.keys(actions)) element(id).addEventListener("click", actions[id]);
  listen(steer, actions, keys, schedule, stop);
  new ResizeObserver(() => {
    paint.resize();
    show(state.camera, false);
  }).observe(canvas);
  describe();
}

// ---- input

const TURN = 1.2, STEP = 0.6;  // of keys, a second: radians, and distances to the target

// Keys that act as long as they are held.
const KEYS = {
  ArrowLeft: (camera, s) => orbited(camera, -TURN * s, 0),
  ArrowRight: (camera, s) => orbited(camera, TURN * s, 0),
  ArrowUp: (camera, s) => orbited(camera, 0, -TURN * s),
  ArrowDown: (camera, s) => orbited(camera, 0, TURN * s),
  "+": (camera, s) => zoomed(camera, Math.exp(-TURN * s)),
  "-": (camera, s) => zoomed(camera, Math.exp(TURN * s)),
  w: (camera, s) => moved(camera, 0, 0, -STEP * s * home.distance),
  s: (camera, s) => moved(camera, 0, 0, STEP * s * home.distance),
  a: (camera, s) => moved(camera, -STEP * s * home.distance, 0),
  d: (camera, s) => moved(camera, STEP * s * home.distance, 0),
  q: (camera, s) => moved(camera, 0, -STEP * s * home.distance),
  e: (camera, s) => moved(camera, 0, STEP * s * home.distance),
};
const SHORTCUTS = { n: "next", t: "tour", z: "depth", f: "full", i: "info" };

function listen(steer, actions, keys, schedule, stop) {
  const pointers = new Map();
  const middle = () => scaled([...pointers.values()].reduce((sum, p) => add(sum, p), [0, 0]), 1 / pointers.size);
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return norm(add(a, b, -1));
  };
  // World units at the target that a pixel of the page shows.
  const unitsAPixel = ({ position, target, focal }) => {
    const factor = Math.min(canvas.clientWidth / scene.size[0], canvas.clientHeight / scene.size[1]);
    return norm(add(position, target, -1)) / (focal[0] * factor);
  };
  const panned = (camera, dx, dy) => moved(camera, -dx * unitsAPixel(camera), dy * unitsAPixel(camera));

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.focus();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = middle(), wide = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const [dx, dy] = add(middle(), before, -1);
    if (pointers.size === 2) {
      steer(panned(zoomed(state.camera, wide / Math.max(spread(), 1)), dx, dy));
    } else if (event.shiftKey || event.buttons & 6) {
      steer(panned(state.camera, dx, dy));
    } else {
      const turn = Math.PI / Math.min(canvas.clientWidth, canvas.clientHeight);
      steer(orbited(state.camera, -dx * turn, -dy * turn));
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
    steer(zoomed(state.camera, Math.exp(clamp(pixels, -200, 200) * 0.0015)));
  }, { passive: false });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (SHORTCUTS[key] && !event.repeat) actions[SHORTCUTS[key]]();
    if (!KEYS[key]) return;
    event.preventDefault();
    stop();
    keys.add(key);
    schedule();
  });
  addEventListener("keyup", (event) => keys.delete(event.key.length === 1 ? event.key.toLowerCase() : event.key));
  addEventListener("blur", () => keys.clear());
}

async function main() {
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true, powerPreference: "high-performance" });
  if (!gl) return fail("This browser has no WebGL 2, so that the scene cannot be flown through: here is a picture of it.");
  if (!window.DecompressionStream) return fail("This browser is too old to unpack the scene (DecompressionStream): here is a picture of it.");
  canvas.addEventListener("webglcontextlost", () => fail("The graphics driver has stopped: load the page again."));
  try {
    checkLimits(gl);
    const section = await unpack();
    const locate = upload(gl, compile(gl), section);
    run(painter(gl, locate));
  } catch (error) {
    fail(`This machine cannot show the scene (${error.message}): here is a picture of it.`);
  }
}

main();

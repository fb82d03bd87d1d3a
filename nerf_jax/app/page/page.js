// The page: a camera that mouse, touch and keys move, and the loop that draws what it sees.
// Cameras are x right, y up, z backwards.

const element = (id) => document.getElementById(id);
const root = document.documentElement;

const STILL_MS = 150;         // without motion, until the sharp picture begins
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
// `x` turned about a unit vector (Rodrigues)
function turned(x, axis, angle) {
  const c = Math.cos(angle), s = Math.sin(angle);
  return add(add(scaled(x, c), cross(axis, x), s), axis, dot(axis, x) * (1 - c));
}

// ---- the camera: position, right, up and back in the world, a lens in pixels of the photos, the
// bounds of its rays, and the target that it orbits

const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
const fromFocus = (position) => norm(add(position, scene.focus, -1));
const home = {  // of the photos: the mean distance from the focus, the bounds of all rays
  distance: mean(scene.views.map((view) => fromFocus(view.pose.map((row) => row[3])))),
  near: Math.min(...scene.views.map((view) => view.near)),
  far: Math.max(...scene.views.map((view) => view.far)),
};

function cameraOf({ pose, focal, principal, near, far }) {
  const [right, up, back, position] = [0, 1, 2, 3].map((column) => pose.map((row) => row[column]));
  return aimed({ right, up, back, position, focal, principal, near, far });
}

// The target is the point of the optical axis nearest to the scene's focus, if that is ahead.
function aimed(camera) {
  const ahead = -dot(add(scene.focus, camera.position, -1), camera.back);
  const distance = ahead > 0.05 * home.distance ? ahead : home.distance;
  return { ...camera, target: add(camera.position, camera.back, -distance) };
}

// The photos' bounds suit their distance from the focus.
function bounded(camera) {
  const change = fromFocus(camera.position) - home.distance;
  const near = Math.max(Math.min(home.near, home.near + change), 0.02 * home.near);
  return { ...camera, near, far: Math.max(home.far, home.far + change) };
}

function orbited(camera, aroundUp, aroundRight) {
  const { position, right, up, back, target } = camera;
  const steepness = (x) => Math.abs(dot(x, scene.up));
  const steep = steepness(turned(back, right, aroundRight));
  const tilt = steep > Math.max(0.995, steepness(back)) ? 0 : aroundRight;  // not over the pole
  const turn = (x) => turned(turned(x, right, tilt), scene.up, aroundUp);
  const [newRight, newUp, newBack] = [right, up, back].map(turn);
  const newPosition = add(target, turn(add(position, target, -1)));
  return bounded({ ...camera, position: newPosition, right: newRight, up: newUp, back: newBack });
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
  const index = Math.floor(at), part = at - index;
  const [first, second] = [frames[index % count], frames[(index + 1) % count]];
  const pose = first.pose.map((row, i) => row.map((x, j) => x + part * (second.pose[i][j] - x)));
  const camera = cameraOf({ ...first, pose });
  const back = unit(camera.back), right = unit(cross(camera.up, back));
  return aimed({ ...camera, back, right, up: cross(back, right) });
}

const state = {
  camera: cameraOf(scene.views[scene.start]),
  view: scene.start,
  depth: false,
  touring: false,
  seconds: 0,  // along the path
  moved: -1e9,  // the time of the last motion
  dirty: true,  // whether the camera differs from that of the last coarse picture
  done: 0,  // rows of the sharp picture
};

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
      paint.drawCoarse({ ...state.camera, depth: state.depth });
      state.dirty = false;
      state.done = 0;
      root.dataset.drawn = "yes";
      return schedule();
    }
    if (performance.now() - state.moved < STILL_MS) return schedule();
    if (!paint.isComplete(state.done)) {
      state.done = paint.drawSharp({ ...state.camera, depth: state.depth }, state.done);
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
      if (!scene.path.frames.length) return;
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
    const { name } = scene.views[state.view];
    element("view").textContent = `${name} (${state.view + 1} of ${scene.views.length})`;
  }

  function steer(camera) {
    stop();
    show(camera);
  }

  element("full").hidden = !document.fullscreenEnabled;
  for (const id of Object.keys(actions)) element(id).addEventListener("click", actions[id]);
  listen(steer, actions, keys);
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

function listen(steer, actions, keys) {
  const pointers = new Map();
  const middle = () => [0, 1].map((axis) => mean([...pointers.values()].map((at) => at[axis])));
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return norm(add(a, b, -1));
  };
  // World units at the target that a pixel of the page shows.
  const unitsAPixel = ({ position, target, focal }) => {
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const factor = Math.min(width / scene.size[0], height / scene.size[1]);
    return norm(add(position, target, -1)) / (focal[0] * factor);
  };
  function panned(camera, dx, dy) {
    const size = unitsAPixel(camera);
    return moved(camera, -dx * size, dy * size);
  }

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

  const nameOf = ({ key }) => (key.length === 1 ? key.toLowerCase() : key);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = nameOf(event);
    if (SHORTCUTS[key] && !event.repeat) actions[SHORTCUTS[key]]();
    if (!KEYS[key]) return;
    event.preventDefault();
    if (!event.repeat) steer(KEYS[key](state.camera, 0.05));  // however short it is held
    keys.add(key);
  });
  addEventListener("keyup", (event) => keys.delete(nameOf(event)));
  addEventListener("blur", () => keys.clear());
}

async function main() {
  const gl = canvas.getContext("webgl2", {
    alpha: false,
    antialias: false,
    depth: false,
    preserveDrawingBuffer: true,
    powerPreference: "high-performance",
  });
  if (!gl) return fail("This browser has no WebGL 2, which draws the scene: here is a picture.");
  if (!window.DecompressionStream) {
    return fail("This browser is too old (no DecompressionStream): here is a picture.");
  }
  canvas.addEventListener("webglcontextlost", () => {
    fail("The graphics driver has stopped: load the page again.");
  });
  try {
    checkLimits(gl);
    const section = await unpack();
    const locate = upload(gl, compile(gl, section), section);
    run(painter(gl, locate));
  } catch (error) {
    fail(`This machine cannot draw the scene (${error.message}): here is a picture.`);
  }
}

main();

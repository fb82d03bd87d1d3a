// The renderer of a hash-grid field, one ray a pixel: nerf_jax/wavefront.py for a single ray.
//
// The sizes and constants of the scene come before these lines (nerf_jax/app/page/shader.py):
// SPACE_*, LEVELS, WIDTH (in vec4s), STEPS, thresholds. World, camera and t are those of
// nerf_jax/types.py; the unit cube is that of nerf_jax/contraction.py.

uniform mat4x3 worldFromCamera;
uniform vec4 lens;         // focal x, y and principal x, y, in pixels of the target
uniform vec2 bounds;       // near and far of the rays
uniform float height;      // of the target, in pixels
uniform int numSteps;      // STEPS; as a uniform, so that no compiler unrolls the loop
uniform bool showDepth;
uniform vec2 depthRange;   // distances of the two ends of the colours

uniform highp sampler2D table;       // the entries of all levels, FEATURES of each
uniform highp sampler2D steps;       // of the k-th step, whatever rays have in common
uniform highp usampler3D distances;  // cells to the nearest occupied one; 0: occupied
uniform highp sampler2D depthColors;

layout(std140) uniform DensityNetwork { MATRIX trunk0[LEVELS * WIDTH]; mat4 trunk1[WIDTH * 4]; };
layout(std140) uniform ColorNetwork {
  vec4 code[WIDTH];  // the share of the appearance code
  mat4 headDirection[4 * WIDTH];
  mat4 headFeatures[4 * WIDTH];
  mat4 head1[WIDTH * WIDTH];
  mat4 head2[WIDTH];
};
#ifdef ENVIRONMENT
layout(std140) uniform EnvironmentNetwork {
  mat4 sky0[4 * WIDTH];
  vec4 skyBias0[WIDTH];
  mat4 sky1[WIDTH];
  vec4 skyBias1;
};
#endif

out vec4 pixel;

struct Ray {
  vec3 origin, direction;
  float start, stop;  // world units
  float radius;       // of the pixel's cone at distance 1
  vec2 turn;          // contracted: cosine and sine of the angle at the start
  float closest, apart;
};

vec3 pow2(vec3 x) { return x * x; }

// ---- spaces: nerf_jax/contraction.py. `varianceInUnit` is the sum of the variances along the axes
// of the unit cube, the contraction being linear over a footprint (methods/grid_fields.py).

#if defined(SPACE_BOX)

vec3 toUnit(vec3 position) { return (position - LOW) / (HIGH - LOW); }

float scale(vec3 position) { return 1.0; }

void cut(inout Ray ray) {
  vec3 direction = mix(ray.direction, vec3(1e-12), lessThan(abs(ray.direction), vec3(1e-12)));
  vec3 toLow = (LOW - ray.origin) / direction, toHigh = (HIGH - ray.origin) / direction;
  vec3 first = min(toLow, toHigh), last = max(toLow, toHigh);
  ray.start = max(ray.start, max(first.x, max(first.y, first.z)));
  ray.stop = min(ray.stop, min(last.x, min(last.y, last.z)));
}

float distanceOf(Ray ray, vec2 step) { return ray.start + step.x; }

float lengthAt(Ray ray, float t) { return STEP; }

float varianceInUnit(vec3 position, vec3 variance) {
  return dot(variance / pow2(HIGH - LOW), vec3(1.0));
}

#elif defined(SPACE_CONTRACTED)

vec3 toUnit(vec3 position) {
  vec3 x = (position - CENTER) / RADIUS;
  float norm = max(max(abs(x.x), max(abs(x.y), abs(x.z))), 1.0);
  return ((2.0 - 1.0 / norm) / norm * x + 2.0) / 4.0;
}

float scale(vec3 position) {
  vec3 x = abs(position - CENTER) / RADIUS;
  return max(max(x.x, max(x.y, x.z)), 1.0);
}

// Steps of equal angle. An angle is a unit vector, and adding angles a rotation: the tangent of a
// GPU is not accurate near a right angle.
void cut(inout Ray ray) {
  vec3 offset = ray.origin - CENTER;
  ray.closest = -dot(offset, ray.direction);
  ray.apart = sqrt(max(dot(offset, offset) - ray.closest * ray.closest, 0.0) + RADIUS * RADIUS);
  ray.turn = normalize(vec2(ray.apart, ray.start - ray.closest));
}

float distanceOf(Ray ray, vec2 step) {
  float cosine = ray.turn.x * step.x - ray.turn.y * step.y;
  float sine = ray.turn.y * step.x + ray.turn.x * step.y;
  return cosine < 1e-4 ? ray.stop : ray.closest + ray.apart * sine / cosine;
}

float lengthAt(Ray ray, float t) {
  float beyond = t - ray.closest;
  return STEP * (ray.apart + beyond * beyond / ray.apart);
}

float varianceInUnit(vec3 position, vec3 variance) {
  vec3 x = (position - CENTER) / RADIUS, size = abs(x);
  float n = max(size.x, max(size.y, size.z)), total = dot(variance, vec3(1.0));
  if (n <= 1.0) return total / (16.0 * RADIUS * RADIUS);
  float along = size.x == n ? variance.x : size.y == n ? variance.y : variance.z;
  float g = (2.0 - 1.0 / n) / n, slope = (2.0 / n - 2.0) / (n * n);
  float squared = g * g * total + slope * (2.0 * g * n + slope * dot(x, x)) * along;
  return squared / (16.0 * RADIUS * RADIUS);
}

#else  // SPACE_FRUSTUM

vec3 inCamera(vec3 position) { return CAMERA_FROM_WORLD * vec4(position, 1.0); }

float depthOf(vec3 position) { return max(-inCamera(position).z, NEAR / 2.0); }

vec3 toUnit(vec3 position) {
  float depth = depthOf(position);
  vec2 xy = inCamera(position).xy / (depth * TANGENT);
  return vec3((xy + 1.0) / 2.0, (1.0 / NEAR - 1.0 / depth) / (1.0 / NEAR - 1.0 / FAR));
}

float scale(vec3 position) { return max(depthOf(position) / NEAR, 1.0); }

void cut(inout Ray ray) {}

float distanceOf(Ray ray, vec2 step) { return ray.start * step.x; }

float lengthAt(Ray ray, float t) { return STEP * t / NEAR; }

float varianceInUnit(vec3 position, vec3 variance) {
  vec3 x = inCamera(position), back = transpose(CAMERA_FROM_WORLD)[2].xyz;
  float depth = depthOf(position), turn = -x.z > NEAR / 2.0 ? 1.0 : 0.0;
  vec3 sum = pow2(turn * back / (depth * depth * (1.0 / NEAR - 1.0 / FAR)));
  for (int i = 0; i < 2; i++) {
    vec3 across = transpose(CAMERA_FROM_WORLD)[i].xyz + turn * x[i] / depth * back;
    sum += pow2(across / (2.0 * depth * TANGENT[i]));
  }
  return dot(sum, variance);
}

#endif

// ---- the field: nerf_jax/hashgrid.py, nerf_jax/fields.py

FEATURES read(uint entry) {
  return texelFetch(table, ivec2(entry & 4095u, entry >> 12), 0).SWIZZLE;
}

// The features of a level at a position of the unit cube. `cells`: along an axis.
FEATURES encode(uvec4 shape, float cells, vec3 x) {
  uint resolution = shape.x, numEntries = shape.y, offset = shape.z;
  bool dense = shape.w == 1u;
  vec3 position = x * cells + 0.5;
  vec3 lower = floor(position), f = position - lower;
  uvec3 vertices = uvec3(1u, resolution, resolution * resolution);
  uvec3 stride = dense ? vertices : uvec3(1u, 2654435761u, 805459861u);
  uvec3 low = uvec3(lower), high = min(low + 1u, uvec3(resolution - 1u)) * stride;
  low *= stride;
  FEATURES sum = FEATURES(0.0);
  for (int corner = 0; corner < 8; corner++) {
    bvec3 upper = bvec3(corner & 1, corner & 2, corner & 4);
    uvec3 v = uvec3(upper.x ? high.x : low.x, upper.y ? high.y : low.y, upper.z ? high.z : low.z);
    uint entry = dense ? v.x + v.y + v.z : WRAP(v.x ^ v.y ^ v.z, numEntries);
    vec3 w = mix(1.0 - f, f, upper);
    sum += w.x * w.y * w.z * read(offset + entry);
  }
  return sum;
}

#ifdef CONE
// Abramowitz and Stegun, 7.1.26: within 1.5e-7, for x >= 0.
float erf(float x) {
  float t = 1.0 / (1.0 + 0.3275911 * x);
  float sum = 1.421413741 + t * (-1.453152027 + t * 1.061405429);
  return 1.0 - t * (0.254829592 + t * (-0.284496736 + t * sum)) * exp(-x * x);
}

// The share of a cross section of the ray's cone that a cell of a level holds.
float levelWeight(int level, float variance) {
  return erf(inversesqrt(max(4.0 * variance * SCALE[level] * SCALE[level], 1.0 / 36.0)));
}
#endif

vec4 relu(vec4 x) { return max(x, 0.0); }

// The density per world unit of a ray's sample; the first of its features is the logarithm.
float density(Ray ray, float t, vec3 position, vec3 unit, out vec4 features[4]) {
  vec4 h[WIDTH];
  for (int o = 0; o < WIDTH; o++) h[o] = vec4(0.0);
  vec3 x = clamp(unit, 0.0, 1.0);
#ifdef CONE
  vec3 across = pow2(vec3(t * ray.radius / 2.0)) * (1.0 - pow2(ray.direction));
  float variance = varianceInUnit(position, across);
#endif
  for (int level = 0; level < LEVELS; level++) {
    FEATURES v = encode(SHAPE[level], SCALE[level], x);
#ifdef CONE
    v *= levelWeight(level, variance);
#endif
    for (int o = 0; o < WIDTH; o++) h[o] += trunk0[level * WIDTH + o] * v;
  }
  for (int o = 0; o < 4; o++) features[o] = vec4(0.0);
  for (int i = 0; i < WIDTH; i++) {
    for (int o = 0; o < 4; o++) features[o] += trunk1[i * 4 + o] * relu(h[i]);
  }
  return exp(min(features[0].x + DENSITY_BIAS, 80.0)) / scale(position);
}

// nerf_jax/encodings.py, four bands
vec4[4] sphericalHarmonics(vec3 d) {
  float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
  return vec4[4](
    vec4(0.28209479177387814, -0.48860251190291992 * y, 0.48860251190291992 * z,
         -0.48860251190291992 * x),
    vec4(1.0925484305920792 * x * y, -1.0925484305920792 * y * z,
         0.94617469575756008 * zz - 0.31539156525252005, -1.0925484305920792 * x * z),
    vec4(0.54627421529603959 * (xx - yy), 0.59004358992664352 * y * (yy - 3.0 * xx),
         2.8906114426405538 * x * y * z, 0.45704579946446572 * y * (1.0 - 5.0 * zz)),
    vec4(0.3731763325901154 * z * (5.0 * zz - 3.0), 0.45704579946446572 * x * (1.0 - 5.0 * zz),
         1.4453057213202769 * z * (xx - yy), 0.59004358992664352 * x * (3.0 * yy - xx)));
}

vec3 sigmoid(vec3 x) { return 1.0 / (1.0 + exp(-x)); }

// The first layer's sums from all that a ray's samples have in common.
void beginColor(vec4 harmonics[4], out vec4 base[WIDTH]) {
  for (int o = 0; o < WIDTH; o++) {
    base[o] = code[o];
    for (int i = 0; i < 4; i++) base[o] += headDirection[i * WIDTH + o] * harmonics[i];
  }
}

vec3 color(vec4 base[WIDTH], vec4 features[4]) {
  vec4 h[WIDTH], rgb = vec4(0.0);
  for (int o = 0; o < WIDTH; o++) {
    h[o] = base[o];
    for (int i = 0; i < 4; i++) h[o] += headFeatures[i * WIDTH + o] * features[i];
  }
  for (int o = 0; o < WIDTH; o++) {
    vec4 next = vec4(0.0);
    for (int i = 0; i < WIDTH; i++) next += head1[i * WIDTH + o] * relu(h[i]);
    rgb += head2[o] * relu(next);
  }
  return sigmoid(rgb.xyz);
}

vec3 background(vec4 harmonics[4]) {
#ifdef ENVIRONMENT
  vec4 rgb = skyBias1;
  for (int o = 0; o < WIDTH; o++) {
    vec4 h = skyBias0[o];
    for (int i = 0; i < 4; i++) h += sky0[i * WIDTH + o] * harmonics[i];
    rgb += sky1[o] * relu(h);
  }
  return sigmoid(rgb.xyz);
#else
  return BACKGROUND;
#endif
}

// ---- rendering: nerf_jax/wavefront.py

struct Rendering {
  vec3 rgb;
  float opacity;
  float last;  // the distance at which the opacity reaches its stop, if it does
};

// March a ray until its opacity is `stop`; without colours, only densities are read.
Rendering march(Ray ray, float stop, bool colored) {
  Rendering found = Rendering(vec3(0.0), 0.0, ray.stop);
  vec4 base[WIDTH];
  for (int k = 0; k < numSteps;) {
    float t = distanceOf(ray, texelFetch(steps, ivec2(k, 0), 0).xy);
    if (t >= ray.stop) break;
    vec3 position = ray.origin + t * ray.direction, unit = toUnit(position);
    ivec3 cell = clamp(ivec3(unit * CELLS), 0, int(CELLS) - 1);
    float empty = float(texelFetch(distances, cell, 0).x);
    if (empty > 0.0) {  // this far, no step leaves the empty cells around this one
      k += 1 + int((empty - 1.0) * STEPS_PER_CELL);
      continue;
    }
    k++;
    vec4 features[4];
    float sigma = density(ray, t, position, unit, features), delta = lengthAt(ray, t);
    float alpha = 1.0 - exp(-min(min(sigma, 1e20) * delta, 100.0));
    if (alpha <= MIN_ALPHA) continue;
    float w = (1.0 - found.opacity) * alpha;
    if (colored) {
      if (found.opacity == 0.0) beginColor(sphericalHarmonics(ray.direction), base);
      found.rgb += w * color(base, features);
    }
    if (found.opacity + w >= stop) {
      found.last = t + delta * (clamp((stop - found.opacity) / w, 0.0, 1.0) - 0.5);
      found.opacity += w;
      break;
    }
    found.opacity += w;
  }
  return found;
}

Ray castRay(vec2 position) {
  vec3 direction = vec3((position - lens.zw) / lens.xy * vec2(1.0, -1.0), -1.0);
  float radius = inversesqrt(3.0) * (1.0 / lens.x + 1.0 / lens.y) / 2.0 / length(direction);
  vec3 rotated = normalize(mat3(worldFromCamera) * direction);
  Ray ray = Ray(worldFromCamera[3], rotated, bounds.x, bounds.y, radius, vec2(0.0), 0.0, 0.0);
  cut(ray);
  return ray;
}

void main() {
  Ray ray = castRay(vec2(gl_FragCoord.x, height - gl_FragCoord.y));
  Rendering found = march(ray, 1.0 - MIN_TRANSMITTANCE, !showDepth);
  vec3 rgb = found.rgb, behind = vec3(1.0);
  if (showDepth) {  // the median depth, in the colours of nerf_jax/app/images.py
    float median = bounds.y;
    if (found.opacity > 1e-6) median = march(ray, found.opacity / 2.0, false).last;
    float part = (median - depthRange.x) / max(depthRange.y - depthRange.x, 1e-9);
    int index = int(clamp(part, 0.0, 1.0) * 255.99);
    rgb = found.opacity * texelFetch(depthColors, ivec2(index, 0), 0).rgb;
  } else {
    behind = background(sphericalHarmonics(ray.direction));
  }
  pixel = vec4(rgb + (1.0 - found.opacity) * behind, 1.0);
}
